"""Make the bundle: all modules of popup and mirror as code objects, marshalled into one file.

As a separate file, each module costs a session 1.5 % of the bare interpreter's cost: a search, a stat, an
open and a read. The modules that every session uses are unmarshalled at once and executed in this order; the
others when they are imported. Docstrings, annotations and code for type checkers are removed, because every
session would unmarshal them. Modules used only by --check are not in the bundle and come from their files.
"""

import ast
import marshal
from collections.abc import Sequence
from pathlib import Path
from types import CodeType

NOW = (
    "qmail_popup",
    "qmail_popup.descriptors",
    "qmail_popup.settings",
    "qmail_popup.wire",
    "qmail_popup.protocol",
    "qmail_popup.session",
    "qmail_popup.__main__",
)
# The first import of a module executes its whole group, in this order.
LATER = (
    ("qmail_popup.tls",),
    ("qmail_popup.subprogram", "qmail_popup.record", "qmail_popup.login"),
    ("qmail_popup.reasons",),
    ("qmail_popup.stderr",),
    ("observability", "observability.event", "observability.mirror"),
    ("observability.spoolfile",),
    ("observability.launch",),
)


def bundle(root: Path) -> bytes:
    """Return the bundle of modules below `root`.

    It starts with boot's code, NOW's names and code, and for each module in LATER the offset of its group
    from the bundle's end, marshalled together. The groups follow, marshalled each by itself, so that what a
    session does not import is never copied.
    """
    boot = _compiled(Path(__file__).with_name("boot.py"), "deploy/boot.py")
    offsets: dict[str, int] = {}
    groups = b""
    for group in reversed(LATER):
        groups = marshal.dumps(_codes(root, group)) + groups
        offsets.update(dict.fromkeys(group, -len(groups)))
    return marshal.dumps((boot, _codes(root, NOW), offsets)) + groups


def _codes(root: Path, names: Sequence[str]) -> list[tuple[str, CodeType]]:
    return [(name, _code(root, _file(root, name))) for name in names]


def _file(root: Path, name: str) -> str:
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if (root / path).is_dir() else f"{path}.py"


def _code(root: Path, file: str) -> CodeType:
    return _compiled(root / file, file)


def _compiled(path: Path, name: str) -> CodeType:
    lean = _Lean().visit(ast.parse(path.read_text(encoding="utf-8"), name))
    code: CodeType = compile(lean, name, "exec", dont_inherit=True, optimize=2)
    return _without_traces(code)


def _without_traces(code: CodeType) -> CodeType:
    """Remove what only a traceback shows, a third of the code's size: a popup never shows one."""
    constants = (_without_traces(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_linetable=b"", co_qualname=code.co_name, co_consts=tuple(constants))


class _Lean(ast.NodeTransformer):
    """Removes types from a module."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Keep only what the interpreter needs."""
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Turn `name: type = value` into an assignment, and drop `name: type`."""
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)
