"""The families: which series there are."""

from observability.store.families import PUSHED, at_start


def test_how_a_push_went_has_a_series() -> None:
    """One for each of both ways, and both are there before the first push."""
    assert (("telemetry_pushes", "ok"), ("telemetry_pushes", "failed")) == (PUSHED[True], PUSHED[False])
    assert {0} == {at_start()[key] for key in PUSHED.values()}
