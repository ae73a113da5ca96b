"""Overrides of a recipe's settings: ``KEY=VALUE`` with short or full keys, and values as in TOML."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from ...runtime.errors import UsageError
from .settings import ALIASES, ModelSettings, field_types, hint, typed
from .training_settings import TrainingSettings


def overridden(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The tables of a recipe's file with some settings changed by ``key=value``.

    Raises:
        UsageError: an unknown or ambiguous key, no ``=``, or a value of another type than the architecture's option.
    """
    changed = copy.deepcopy(dict(table))
    known = _known_keys(table["model"])
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"{override!r} sets nothing; write KEY=VALUE, for example lr=0.01")
        *parents, last = resolve(key.strip(), known).split(".")
        inner = changed
        for part in parents:
            inner = inner.setdefault(part, {})
        value = _value(text.strip())
        if parents == ["model"] and last not in field_types(ModelSettings):
            value = _like(inner[last], value, last)
        inner[last] = value
    return changed


def resolve(key: str, known: Sequence[str]) -> str:
    """The full name of a setting: ``lr`` -> ``training.learning_rate``.

    Raises:
        UsageError: no setting of ``known`` is called so, or more than one.
    """
    *table, last = key.split(".")
    wanted = ".".join([*table, ALIASES.get(last, last)])
    for name in (wanted, f"training.{wanted}"):
        if name in known:
            return name
    found = [name for name in known if name.endswith(f".{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{key!r} could be {' or '.join(found)}; write one of them")
    shown = [name.removeprefix("training.") for name in known]
    raise UsageError(f"there is no setting {key!r}{hint(key, shown)}")


def _known_keys(model: Mapping[str, Any]) -> list[str]:
    """All settings of a recipe with their tables, such as ``training.augmentation.mixup``."""
    options = [f"model.{key}" for key in model]
    own = [f"model.{key}" for key in field_types(ModelSettings) if key != "options"]
    return list(dict.fromkeys([*_dotted(TrainingSettings, "training."), *own, *options]))


def _dotted(kind: Any, where: str) -> list[str]:
    keys: list[str] = []
    for name, kept in field_types(kind).items():
        keys += _dotted(kept, f"{where}{name}.") if dataclasses.is_dataclass(kept) else [where + name]
    return keys


def _like(old: Any, new: Any, key: str) -> Any:
    """A value for an architecture's option, whose type is that of the recipe's own value."""
    if isinstance(old, list):
        item = type(old[0]) if old else int
        return list(typed(new, tuple[item, ...], f"model.{key}"))  # type: ignore[valid-type]
    return typed(new, type(old), f"model.{key}")


def _value(text: str) -> Any:
    """``0.01``, ``true``, ``[1, 2]``, ``"text"`` or text without quotes."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
