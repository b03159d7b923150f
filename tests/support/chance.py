"""How many examples hypothesis makes up, and whether they are the same in every run."""

import os

from hypothesis import settings


def examples(count: int) -> settings:
    """Return settings for `count` examples, the same each time; FUZZ=n asks for n times as many, by chance.

    Without a deadline: how long an example takes says more about the machine than about us.
    """
    times = int(os.environ.get("FUZZ", "0"))
    return settings(max_examples=count * (times or 1), derandomize=not times, database=None, deadline=None)
