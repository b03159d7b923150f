"""Install the rules for Prometheus or vmalert, as `make rules` does.

    RULES/recording.yml, RULES/alerts.yml

In the checkout an alert's runbook_url is a path. The recipient of an alert needs the address at which
runbooks.md is served, which this program puts in its place. Each file is replaced with one rename.
"""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).resolve().parents[1] / "dashboards/rules"
FILES = ("recording.yml", "alerts.yml")
RUNBOOKS = "runbook_url: dashboards/runbooks.md#"
# Characters that end a plain scalar in YAML, or begin a template in Prometheus.
UNFIT = frozenset(" \t\n\"'#{}")


def main() -> None:
    """Install the rules; one line and status 1 if a file cannot be written."""
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
    """Write the rules into a directory, with the runbooks' address in each alert."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = (SOURCE / name).read_text(encoding="utf-8")
        new = directory / f".{name}.new"  # does not match *.yml, so rule_files ignores it
        new.write_text(text.replace(RUNBOOKS, f"runbook_url: {runbooks}#"), encoding="utf-8")
        new.chmod(0o644)
        new.replace(directory / name)


def _is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not UNFIT & set(text)


if __name__ == "__main__":
    main()
