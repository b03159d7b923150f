"""What the starter runs first: gives out the modules of a bundle, as importlib would from files.

The bundle's own first module, so that `bin/qmail-popup`, which is compiled at every start, can be short.
This module is itself the finder and the loader: a class would cost 20 µs more. What every session uses
is executed at once, in the order of its imports. The rest keeps its marshalled form until it is imported,
and comes in groups: a search by importlib costs as much as the execution, so the first brings the others.
What is not in the bundle comes from its file.
"""

import marshal
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

later: "dict[str, bytes]" = {}
root = ""


def run(lib: str, now: "Sequence[tuple[str, CodeType]]", on_demand: "dict[str, bytes]") -> "ModuleType":
    """Execute the modules in `now`, promise those `on_demand`, all from below `lib`; the last of `now`."""
    global root  # noqa: PLW0603  this module is the one object that there is
    root = lib
    later.update(on_demand)
    sys.meta_path.insert(0, sys.modules[__name__])  # a module with find_spec will do
    for name, code in now:
        _execute(type(sys)(name), code)
    return sys.modules[now[-1][0]]


def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
    """Find a module of the bundle."""
    return ModuleSpec(name, sys.modules[__name__]) if name in later else None  # type: ignore[arg-type]


def create_module(_spec: ModuleSpec) -> None:
    """Leave that to importlib."""


def exec_module(module: "ModuleType") -> None:
    """Run the code of a module of the bundle, and of those that go with it."""
    for name, code in marshal.loads(later[module.__name__]):  # noqa: S302  as safe as the program itself
        if name == module.__name__:
            _execute(module, code)
        elif name not in sys.modules:
            _execute(type(sys)(name), code)


def _execute(module: "ModuleType", code: "CodeType") -> None:
    name = module.__name__
    sys.modules[name] = module
    if "." not in name:
        module.__path__ = [f"{root}/{name}"]  # which makes it a package
    exec(code, module.__dict__)  # noqa: S102  it is what importlib does
