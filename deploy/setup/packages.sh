#!/bin/sh
# packages.sh build|deb|run|test|bench|browser [PYTHON]: install what is missing of that set of Debian packages.
#
# What it owes to the host, which may be a mail server: it says what it installs before it does, it removes and
# restarts nothing, and no daemon that it brings runs, neither now nor after the next boot. Where nothing is
# missing it needs no root and calls no apt-get. It is POSIX sh and uses only what every Debian has, because
# Python may be among the things that are missing.
set -eu

set_name=${1:?usage: packages.sh build|deb|run|test|bench|browser [PYTHON]}
python=${2:-/usr/bin/python3}
table=$(dirname "$0")/packages
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # elsewhere in tests
saved=$policy.saved-by-qmail-popup
our_mark='# Written by the set-up of qmail-popup while it installs packages.'
PATH=$PATH:/usr/sbin:/sbin # an ordinary user's PATH has not got these two, but what is there can be run

main() {
    new_enough_python
    packages=$(missing package)
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || fail "no apt-get here; please install these programs: $(missing program)"
    have_lists
    # shellcheck disable=SC2086 # a word for each package
    leave_out_unknown $packages
    [ -n "$packages" ] || return 0
    [ "$(id -u)" = 0 ] || fail "you are not root; have root run: apt-get install --no-install-recommends $packages"
    echo "Installing these Debian packages: $packages"
    echo 'None of their daemons is started or enabled.'
    trap put_right EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_starts
    # shellcheck disable=SC2086 # a word for each package
    install $packages
    new_enough_python
}

# Where there is none yet, there may be one later.
new_enough_python() {
    command -v "$python" >/dev/null || return 0
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, and $python is not; PYTHON= names another"
}

# Of what the set has and this machine has not: each one's package, or the program that it is found by.
missing() {
    case $set_name in
    build) sets=' build ' ;;
    deb) sets=' build deb ' ;;
    run) sets=' build run ' ;;
    test) sets=' build deb run test ' ;;
    browser) sets=' browser ' ;;
    bench) sets=' build deb run test bench ' ;;
    *) fail "no such set of packages: $set_name" ;;
    esac
    list=
    while read -r package program in_set _why; do
        case $sets in *" $in_set "*) ;; *) continue ;; esac
        have "$program" && continue
        if [ "$1" = package ]; then list="$list $package"; else list="$list $program"; fi
    done <<END
$(sed '/^#/d' "$table")
END
    printf '%s' "${list# }"
}

have() {
    case $1 in
    python3) command -v "$python" >/dev/null ;;
    ensurepip) "$python" -c 'import ensurepip' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# What a release of Debian has is in apt's lists, which a fresh system has yet to fetch.
have_lists() {
    [ "$(id -u)" != 0 ] || one_at_a_time
    [ -z "$(apt-cache madison apt)" ] || return 0
    [ "$(id -u)" = 0 ] || fail 'you are not root, and apt has no lists of packages yet; have root run: apt-get update'
    apt_get update || true # if it matters, the installation says so
}

# Debian 13 has not all that Debian 12 has. What only tests want, and this release does not know, is not asked for.
leave_out_unknown() {
    there=" $(apt-cache madison "$@" 2>/dev/null | sed 's/^ *//; s/ .*//' | tr '\n' ' ')"
    packages= unknown=
    for package in "$@"; do
        case $there in
        *" $package "*) packages="$packages $package" ;;
        *) if is_optional "$package"; then unknown="$unknown $package"; else packages="$packages $package"; fi ;;
        esac
    done
    packages=${packages# }
    [ -z "$unknown" ] || echo "Not in this release of Debian; tests do without or are skipped:$unknown"
}

is_optional() {
    grep -q "^$1  *[^ ][^ ]*  *\(test\|bench\) " "$table"
}

# Two at once would put policy-rc.d back under each other's hands. The lock is on the directory: it leaves nothing.
one_at_a_time() {
    exec 9<"$(dirname "$policy")"
    flock 9
}

# dpkg asks policy-rc.d before it starts, restarts or stops a service; 101 means no. What is found there is kept
# aside, unless it is our own, left by a run that was killed.
forbid_starts() {
    if { [ -e "$policy" ] || [ -L "$policy" ]; } && ! grep -qsF "$our_mark" "$policy"; then
        ln -f "$policy" "$saved"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$our_mark" >"$policy.new"
    chmod 755 "$policy.new"
    mv -f "$policy.new" "$policy"
}

# However it ends, also half-way: first the new daemons, while they still cannot start, then the host's own policy.
put_right() {
    # shellcheck disable=SC2086 # a word for each package
    disable_daemons $packages
    if [ -e "$saved" ] || [ -L "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
    rm -f "$policy.new"
}

# Debian enables a daemon when it installs it, so a Prometheus that nobody asked for would come up at the next boot.
# These packages were not here a moment ago: nobody's choice is undone. systemd's units are parts of systemd, and
# come up only with it. Of a unit without an init script update-rc.d complains, once it has disabled it; whatever it
# says, the host gets its policy back.
disable_daemons() {
    for package in "$@"; do
        [ "$package" = systemd ] || dpkg -L "$package" 2>/dev/null || true # was not installed: nothing to disable
    done |
        sed -n 's,^/etc/init\.d/,,p; s,^.*/systemd/system/\([^@/]*\)\.service$,\1,p' | sort -u |
        while read -r daemon; do update-rc.d "$daemon" disable || true; done
}

# The lists are fetched again only if they do not know the packages, or name files that are no longer there.
install() {
    apt_get --simulate install "$@" >/dev/null 2>&1 || apt_get update || true # if it matters, the next line says so
    apt_get install "$@" || { apt_get update && apt_get install "$@"; }
}

# Recommended packages stay away: among them are mail servers and exporters. Nothing is removed for ours, and
# needrestart, where the host has it, lets running services be.
apt_get() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get --quiet --yes --no-install-recommends \
        --no-remove -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

fail() {
    echo "qmail-popup: $*" >&2
    exit 1
}

main
