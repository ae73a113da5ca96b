"""Packages that show names without importing the modules that hold them (PEP 562): torch and Keras take seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

Face = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy_names(package: str, homes: Mapping[str, str]) -> Face:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__``; a name's module is imported at its first use.

    Args:
        package: the ``__name__`` of the package.
        homes: public name -> the module below the package that holds it, such as ``faces``, or
            ``statistics.correction.fit:test`` where it has another name there. Editors read the imports under
            ``TYPE_CHECKING`` instead.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        value = getattr(import_module(f".{module}", package), attribute or name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes} - {"TYPE_CHECKING", "lazy_names"})

    return get, names, list(homes)
