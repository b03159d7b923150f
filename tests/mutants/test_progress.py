"""How far a run of the mutants is."""

from tests.mutants.progress import Progress


def test_a_line_a_minute() -> None:
    """It tells a module, all, and the time that is left if the others take as long as those before."""
    now, shown = [0.0], list[str]()
    progress = Progress(40, clock=lambda: now[0], show=shown.append)
    for seconds, module, done in ((30, "a", 1), (60, "a", 2), (119, "b", 7), (120, "b", 8), (3900, "a", 4)):
        now[0] = seconds
        progress.tell(module, done, 20)
    assert [
        "a: 2 of 20; all: 2 of 40, 0 h 19 min left",
        "b: 8 of 20; all: 10 of 40, 0 h 6 min left",
        "a: 4 of 20; all: 12 of 40, 2 h 31 min left",
    ] == shown


def test_nothing_to_tell() -> None:
    """Before the first mutant has been tried nobody knows how long all take."""
    now, shown = [0.0], list[str]()
    progress = Progress(40, clock=lambda: now[0], show=shown.append)
    now[0] = 100.0
    progress.tell("a", 0, 20)
    assert [] == shown
