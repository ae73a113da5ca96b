"""Run settings as something to read (tables of rows) and something to parse (plain JSON values)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from ..runtime.files import utf8_text
from .formatting import count, printable, ranges
from .statistics.table import LabelTable

_MAX_ROWS = 200  # a table; run.json is ours, but whoever hands it over may have put anything in
_MAX_DEPTH = 6


@dataclass(frozen=True)
class Table:
    """One group of settings: a heading and (name, value) rows, as plain text that is not yet escaped."""

    heading: str
    rows: tuple[tuple[str, str], ...]


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON knows it: dict with str keys, list, str, int, finite float, bool or None.

    Numpy scalars and arrays become numbers and lists, paths and everything unknown become text, NaN and infinities
    become None, for JSON has no word for them. What is nested deeper than 32 levels becomes text.
    """
    if value is None or isinstance(value, bool | int) or value is pd.NA:
        return None if value is pd.NA else value
    if isinstance(value, np.generic):
        return plain(value.item(), depth)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return utf8_text(value)
    if depth >= 32:
        return printable(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), depth)
    if isinstance(value, list | tuple | set | frozenset | range):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, PathLike):
        return plain(str(value), depth)
    return plain(str(value), depth)


def settings_tables(settings: Mapping[str, Any]) -> list[Table]:
    """Settings as tables: first the loose values, then one table a group, nested names joined with dots."""
    loose = [(printable(key), _text(value)) for key, value in settings.items() if not isinstance(value, Mapping)]
    tables = [Table("Run", tuple(loose[:_MAX_ROWS]))] if loose else []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows = list(_flatten(value))
            if len(rows) > _MAX_ROWS:
                more = f"{count(len(rows) - _MAX_ROWS)} more in report.json"
                rows = [*rows[:_MAX_ROWS], ("\N{HORIZONTAL ELLIPSIS}", more)]
            tables.append(Table(printable(key, 80).replace("_", " ").capitalize(), tuple(rows)))
    return tables


def _flatten(group: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    for key, value in group.items():
        name = f"{prefix}{printable(key, 80)}"
        if isinstance(value, Mapping) and value and depth < _MAX_DEPTH:
            yield from _flatten(value, f"{name}.", depth + 1)
        else:
            yield name.replace("_", " "), _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | range | np.ndarray):
        items = list(value)
        whole = all(isinstance(item, int | np.integer) and not isinstance(item, bool) for item in items)
        if whole and len(items) > 1 and all(a < b for a, b in zip(items, items[1:], strict=False)):
            return ranges(map(int, items))
        shown = ", ".join(_text(item) for item in items[:40])
        return shown + (f" and {count(len(items) - 40)} more" if len(items) > 40 else "")
    return printable(value)


def run_facts(settings: Mapping[str, Any], table: LabelTable) -> list[tuple[str, str]]:
    """Names and values for the head of the page, as plain text."""
    generate, classify = step_settings(settings, "generate"), step_settings(settings, "classify")
    facts: list[tuple[str, object]] = [("Run", settings.get("run"))]
    if generate:
        facts.append(("Generator", generate.get("network")))
        several = generate.get("psi_sweep")
        if isinstance(several, list | tuple):
            facts.append(("Truncation ψ", ", ".join(printable(value, 20) for value in several[:20])))
        else:
            facts.append(("Truncation ψ", generate.get("truncation_psi")))
        facts.append(("Truncated styles", generate.get("truncation_cutoff")))
        facts.append(("Projected styles", generate.get("projected_w")))
        facts.append(("Noise", generate.get("noise_mode")))
    else:
        facts.append(("Images", _end_of_path(classify.get("images"))))
    others = list(step_settings(settings, "judges"))
    facts.append(("Classifier" if not others else "Classifiers", _with(classify.get("model"), others)))
    crop = [str(classify[key]) for key in ("crop", "filter") if classify.get(key) is not None]
    facts.append(("Crop, filter", ", ".join(crop) or None))
    if table.seeds is not None:
        facts.append(("Seeds", ranges(table.seeds, limit=3)))
    return [
        (name, printable(plain(value), 80))
        for name, value in facts
        if value is not None and not isinstance(value, Mapping)
    ]


def licences(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whose weights were used, and under which licence, as far as the run recorded it."""
    used = []
    for what, step, name in (("Generator", "generate", "network"), ("Classifier", "classify", "model")):
        made = step_settings(settings, step)
        used += [(what, made[name], made)] if made.get(name) is not None else []
    for name, entry in step_settings(settings, "judges").items():
        made = step_settings(entry, "classify") if isinstance(entry, Mapping) else {}
        used += [("Classifier", name, made)] if made else []
    unknown = "not recorded; see the model’s card"
    return [
        (f"{what} {printable(plain(name), 80)}", printable(plain(made.get("licence") or unknown), 400))
        for what, name, made in used
    ]


def step_settings(settings: Mapping[str, Any], step: str) -> Mapping[str, Any]:
    """The settings of a step, empty where there are none."""
    found = settings.get(step)
    return found if isinstance(found, Mapping) else {}


def _with(first: object, others: list[Any]) -> object:
    return first if not others else ", ".join(str(plain(name)) for name in (first, *others))


def _end_of_path(path: object) -> str | None:
    """The last two parts: enough to recognise, short enough for a line."""
    if path is None:
        return None
    parts = str(plain(path)).rstrip("/").split("/")
    return "/".join(parts[-2:])
