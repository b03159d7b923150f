"""How many examples hypothesis generates, and whether they are the same in every run."""

import os

from hypothesis import settings


def examples(count: int) -> settings:
    """Return settings for `count` examples, the same each time; FUZZ=n: n times as many, at random."""
    times = int(os.environ.get("FUZZ", "0"))
    return settings(max_examples=count * (times or 1), derandomize=not times, database=None)
