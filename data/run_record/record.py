"""How an entry of ``run.json`` becomes a frozen dataclass and JSON values again."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, ClassVar, Self

from ...runtime.errors import DataError
from ...runtime.files import printable


class Record:
    """The base of all entries: JSON values in and out.

    Fields without a default are always written, others only where they are not None; a field ``other`` keeps what this
    fergan does not know.
    """

    entry: ClassVar[str] = ""
    """Name of the entry, for messages."""
    keys: ClassVar[Mapping[str, str]] = {}
    """Names in ``run.json`` that are not the attribute's."""
    always: ClassVar[tuple[str, ...]] = ()
    """Attributes that are written even where they are None by default."""

    @classmethod
    def from_json(cls, values: object, lenient: bool = False) -> Self:
        """Read a record; ``lenient`` leaves out what does not fit, but for what a record cannot be without.

        Raises:
            DataError: a value is of the wrong type or missing; the message names the key.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"the settings of {cls.entry!r} are not a table")
        rest, hints = dict(values), _hints(cls)  # type: ignore[arg-type]
        given: dict[str, Any] = {"other": rest} if "other" in hints else {}
        for name, hint in hints.items():
            key = cls.keys.get(name, name)
            if name == "other" or key not in rest:
                continue
            try:
                given[name] = _fitting(rest[key], hint)
                del rest[key]
            except (TypeError, DataError) as error:
                if not lenient:
                    raise DataError(f"the setting {printable(key)} of {cls.entry!r} is damaged") from error
        try:
            return cls(**given)
        except TypeError as error:
            raise DataError(f"{cls.entry!r} lacks settings") from error

    def to_json(self) -> dict[str, Any]:
        """The record as ``run.json`` keeps it."""
        found: dict[str, Any] = {}
        for item in fields(self):  # type: ignore[arg-type]
            value, key = getattr(self, item.name), self.keys.get(item.name, item.name)
            if item.name == "other":
                found.update(value)
            elif value is not None or item.default is MISSING or item.name in self.always:
                found[key] = as_json(value)
        return found

    def differences(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Keys whose values differ, each with the value here and the one of ``other``."""
        # through JSON, which turns tuples into lists
        mine, theirs = (json.loads(json.dumps(record.to_json())) for record in (self, other))
        return {key: (mine.get(key), theirs.get(key)) for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)}


def as_json(value: Any) -> Any:
    """A field's value with records and tuples, also nested ones, as tables and lists."""
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def _fitting(value: Any, hint: Any) -> Any:
    """A JSON value as a field of a type such as ``int | None`` or ``tuple[str, ...]`` holds it; TypeError if it cannot.

    Records within are read leniently. DataError: such a record lacks a value.
    """
    if hint is Any:
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("a number that is not finite")
    for option in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        kind, inner = typing.get_origin(option) or option, typing.get_args(option)
        if issubclass(kind, Record):
            if isinstance(value, Mapping):
                return kind.from_json(value, lenient=True)
        elif kind is tuple:
            if isinstance(value, list | tuple) and value:
                return tuple(_fitting(item, inner[0]) for item in value)
        elif kind is Mapping:
            if isinstance(value, Mapping):
                return {str(key): _fitting(item, inner[1]) for key, item in value.items()}
        elif isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool):
            return value
    raise TypeError(f"{type(value).__name__} is not {hint}")
