"""What a run tells of its mutants."""

import pytest

from tests.mutants.__main__ import Mutant, _changed, _counts, _shown
from tests.mutants.trial import CHANCE, NOTICED, SURVIVED, TIMED_OUT

_EXPLAINED = "qmail_popup/protocol.py", "verb_end = end if space < 1 else space"
_HEAD = "--- mutation diff ---\n--- a/m.py\n+++ b/m.py\n@@ -1,3 +1,3 @@\n"


@pytest.mark.parametrize(
    ("diff", "changed"),
    [
        (" a\n-    b = 1\n+    b = 2\n c", "b = 2"),
        (" a\n-    if b and (\n-        c):\n+    if not b and (\n+        c):\n", "if not b and ( c):"),
        (" a\n-\n-    @property\n     def b(self):\n", "- @property"),
    ],
)
def test_the_line_of_a_change(diff: str, changed: str) -> None:
    """It is what an explanation names: the new line or, where one is removed, the old one."""
    assert changed == _changed(_HEAD + diff)


def test_what_is_told() -> None:
    """Each verdict has its count; shown is what somebody has to look at."""
    verdicts = (NOTICED, SURVIVED, TIMED_OUT, CHANCE)
    mutants = [Mutant("m.py", "b", f"-{verdict}", verdict) for verdict in verdicts]
    mutants += [Mutant(*_EXPLAINED, f"-{verdict}", verdict) for verdict in (NOTICED, SURVIVED, TIMED_OUT)]
    assert "7 mutants, 2 noticed, 2 timed out, 1 explained, 2 that no test notices" == _counts(mutants)
    assert [
        f"{SURVIVED}:\n-{SURVIVED}",
        f"{TIMED_OUT}:\n-{TIMED_OUT}",
        f"{CHANCE}:\n-{CHANCE}",
        f"explained, but a test notices it:\n-{NOTICED}",
    ] == list(_shown(mutants))
    assert [False, True, False, True, False, False, False] == [mutant.is_open for mutant in mutants]
