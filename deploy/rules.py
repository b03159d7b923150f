"""Install the rules for Prometheus or vmalert, as `make rules` asks.

    RULES/recording.yml, RULES/alerts.yml

In the checkout an alert's runbook_url is a path. Whoever gets the alert needs an address, the one at which
runbooks.md is served; it is given here, once. Each file is replaced in one rename.
"""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).resolve().parents[1] / "dashboards/rules"
FILES = ("recording.yml", "alerts.yml")
RUNBOOKS = "runbook_url: dashboards/runbooks.md#"
# What would end the word in YAML, or stand in a template of Prometheus.
UNFIT = frozenset(" \t\n\"'#{}")


def main() -> None:
    """Do what the command line asks; one line and status 1 where a file cannot be written."""
    parser = argparse.ArgumentParser(prog="rules", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rules", type=Path, required=True, help="the directory that rule_files names")
    parser.add_argument("--runbooks", required=True, help="the address at which runbooks.md is served")
    asked = parser.parse_args()
    if not _is_address(asked.runbooks):
        parser.error(f"RUNBOOKS= must be the address of runbooks.md, as https://...: {asked.runbooks!r}")
    try:
        install(asked.rules, asked.runbooks)
    except OSError as error:
        sys.exit(f"rules: {error}")
    print(f"Installed in {asked.rules}: {', '.join(FILES)}. Have Prometheus or vmalert reload them.")


def install(directory: Path, runbooks: str) -> None:
    """Write the rules into a directory, with the address of the runbooks in each alert."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = (SOURCE / name).read_text(encoding="utf-8")
        new = directory / f".{name}.new"  # rule_files takes *.yml
        new.write_text(text.replace(RUNBOOKS, f"runbook_url: {runbooks}#"), encoding="utf-8")
        new.chmod(0o644)
        new.replace(directory / name)


def _is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not UNFIT & set(text)


if __name__ == "__main__":
    main()
