#!/bin/sh
# packages.sh build|deb|run|test|bench|browser [PYTHON]: install the missing Debian packages of a set.
#
# The host may be a mail server. So this prints what it will install before it does, removes and restarts nothing,
# and starts no daemon that it installs, neither now nor at the next boot. If nothing is missing, it needs no root
# and does not call apt-get. It is POSIX sh and uses only what every Debian has, because Python may be missing.
set -eu

set_name=${1:?usage: packages.sh build|deb|run|test|bench|browser [PYTHON]}
python=${2:-/usr/bin/python3}
table=$(dirname "$0")/packages
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # changed in tests
saved=$policy.saved-by-qmail-popup
our_mark='# Written by the set-up of qmail-popup while it installs packages.'
PATH=$PATH:/usr/sbin:/sbin # not in an ordinary user's PATH, but their programs may be run

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

# If there is no Python yet, it may be installed later.
new_enough_python() {
    command -v "$python" >/dev/null || return 0
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is older than Python 3.11; choose another with PYTHON="
}

# Print the set's missing packages, or the programs that identify them.
missing() {
    case $set_name in
    build) sets=' build ' ;;
    deb) sets=' build deb ' ;;
    run) sets=' build run ' ;;
    test) sets=' build deb run test ' ;;
    browser) sets=' browser ' ;;
    bench) sets=' build deb run test bench ' ;;
    *) fail "unknown set of packages: $set_name" ;;
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

# apt's lists say what this release of Debian has; a fresh system must fetch them first.
have_lists() {
    [ "$(id -u)" != 0 ] || one_at_a_time
    [ -z "$(apt-cache madison apt)" ] || return 0
    [ "$(id -u)" = 0 ] || fail 'you are not root, and apt has no lists of packages yet; have root run: apt-get update'
    apt_get update || true # if it matters, the installation reports it
}

# Debian 13 lacks some packages of Debian 12. Leave out those that only tests need and this release lacks.
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

# Two runs at once would mix up each other's policy-rc.d. The lock is on the directory, so it leaves no file behind.
one_at_a_time() {
    exec 9<"$(dirname "$policy")"
    flock 9
}

# dpkg asks policy-rc.d before it starts, restarts or stops a service; 101 means no. An existing policy-rc.d is set
# aside, unless it is our own, left by a run that was killed.
forbid_starts() {
    if { [ -e "$policy" ] || [ -L "$policy" ]; } && ! grep -qsF "$our_mark" "$policy"; then
        ln -f "$policy" "$saved"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$our_mark" >"$policy.new"
    chmod 755 "$policy.new"
    mv -f "$policy.new" "$policy"
}

# Runs however the script ends: first disable the new daemons, while they still cannot start, then restore the host's
# policy.
put_right() {
    # shellcheck disable=SC2086 # a word for each package
    disable_daemons $packages
    if [ -e "$saved" ] || [ -L "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
    rm -f "$policy.new"
}

# Debian enables a daemon when it installs it, so a Prometheus that nobody asked for would start at the next boot.
# These packages are new on this host, so this undoes nobody's choice. systemd's units are part of systemd, and start
# only with it. If a unit has no init script, update-rc.d complains after disabling it; whatever it reports, the
# host's policy is restored.
disable_daemons() {
    for package in "$@"; do
        [ "$package" = systemd ] || dpkg -L "$package" 2>/dev/null || true # was not installed: nothing to disable
    done |
        sed -n 's,^/etc/init\.d/,,p; s,^.*/systemd/system/\([^@/]*\)\.service$,\1,p' | sort -u |
        while read -r daemon; do update-rc.d "$daemon" disable || true; done
}

# Fetch the lists again only if they lack the packages, or name files that no longer exist.
install() {
    apt_get --simulate install "$@" >/dev/null 2>&1 || apt_get update || true # if it matters, the next line reports it
    apt_get install "$@" || { apt_get update && apt_get install "$@"; }
}

# No recommended packages: they include mail servers and exporters. Nothing is removed, and needrestart, if the host
# has it, leaves running services alone.
apt_get() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get --quiet --yes --no-install-recommends \
        --no-remove -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

fail() {
    echo "qmail-popup: $*" >&2
    exit 1
}

main
