"""What the tests of the sidecar share: one that runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sidecar import RunningSidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[RunningSidecar]:
    """Give a sidecar that serves."""
    with RunningSidecar(tmp_path) as sidecar:
        yield sidecar
