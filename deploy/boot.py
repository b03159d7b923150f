"""What the starter runs first: gives out the modules of a bundle, as importlib would from files.

The bundle's own first module, so that `bin/qmail-popup`, which is compiled at every start, can be short.
This module is itself the finder and the loader: a class would cost 20 µs more. What every session uses
is executed at once, in the order of its imports; the rest keeps its marshalled form until it is imported.
"""

import marshal
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

later: "dict[str, bytes]" = {}


def run(now: "Sequence[tuple[str, CodeType]]", on_demand: "dict[str, bytes]") -> "ModuleType":
    """Execute the modules in `now`, promise those `on_demand`; the last of `now`."""
    later.update(on_demand)
    sys.meta_path.insert(0, sys.modules[__name__])  # a module with find_spec will do
    module = sys.modules[__name__]
    for name, code in now:
        module = sys.modules[name] = type(sys)(name)
        if "." not in name:
            module.__path__ = []  # what makes it a package, so that importing from it looks for modules
        exec(code, module.__dict__)  # noqa: S102  # it is what importlib does
    return module


def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
    """Find a module of the bundle."""
    return ModuleSpec(name, sys.modules[__name__], is_package="." not in name) if name in later else None  # type: ignore[arg-type]


def create_module(_spec: ModuleSpec) -> None:
    """Leave that to importlib."""


def exec_module(module: "ModuleType") -> None:
    """Run the code of a module of the bundle."""
    exec(marshal.loads(later[module.__name__]), module.__dict__)  # noqa: S102, S302
