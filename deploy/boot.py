"""Runs first in the starter: loads the modules of a bundle, as importlib loads files.

It is the first module of the bundle, so that `bin/qmail-popup`, which is compiled at every start, can be
short. This module itself is the finder and loader: a class would cost 20 µs more. The modules that every
session uses are executed at once, in import order. The others stay marshalled until imported, in groups: a
search by importlib costs as much as executing a module, so the first import of a group executes all of it.
Modules that are not in the bundle are imported from their files.
"""

import marshal
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

root = ""
bundle = memoryview(b"")
offsets: "dict[str, int]" = {}


def run(
    lib: str, data: bytes, now: "Sequence[tuple[str, CodeType]]", later: "dict[str, int]"
) -> "ModuleType":
    """Execute the modules in `now` and return the last of them.

    lib: where the modules' files are; data: the bundle; later: see deploy/bundle.py
    """
    global root, bundle, offsets
    root, bundle, offsets = lib, memoryview(data), later
    sys.meta_path.insert(0, sys.modules[__name__])  # a module with find_spec is enough
    for name, code in now:
        _execute(type(sys)(name), code)
    return sys.modules[now[-1][0]]


def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
    """Find a module of the bundle."""
    return ModuleSpec(name, sys.modules[__name__]) if name in offsets else None  # type: ignore[arg-type]


def create_module(_spec: ModuleSpec) -> None:
    """Leave that to importlib."""


def exec_module(module: "ModuleType") -> None:
    """Execute a module of the bundle, and the rest of its group."""
    for name, code in marshal.loads(bundle[offsets[module.__name__] :]):  # noqa: S302  as safe as the program itself
        if name == module.__name__:
            _execute(module, code)
        elif name not in sys.modules:
            _execute(type(sys)(name), code)


def _execute(module: "ModuleType", code: "CodeType") -> None:
    name = module.__name__
    sys.modules[name] = module
    package, _, own_name = name.rpartition(".")
    if package:
        setattr(sys.modules[package], own_name, module)
    else:
        module.__path__ = [f"{root}/{name}"]  # makes it a package
    exec(code, module.__dict__)  # noqa: S102  what importlib does
