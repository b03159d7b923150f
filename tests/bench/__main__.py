"""`make bench`: install the product into a scratch directory, measure it, and print the figures."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import fleet, listener, mirrored, popup, pushing, sidecar, spans

CHECKOUT = Path(__file__).resolve().parents[2]
SUBJECTS = {
    "popup": popup.run,
    "listener": listener.run,
    "mirror": mirrored.run,
    "sidecar": sidecar.run,
    "spans": spans.run,
    "push": pushing.run,
    "fleet": fleet.run,
}


def main(wanted: list[str]) -> None:
    """Run the measurements named, all where none is."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        prefix = Path(scratch, "prefix")
        install = ["make", "-sC", str(CHECKOUT), "install", f"PREFIX={prefix}", "PYTHON=/usr/bin/python3"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        for name in wanted or SUBJECTS:
            for line in SUBJECTS[name](prefix):
                print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
