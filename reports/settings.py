"""Run settings as something to read (tables of rows) and something to parse (plain JSON values)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from ..data.run_record.run import RunRecord
from ..data.run_record.settings import ClassifyRecord
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


def run_facts(record: RunRecord, table: LabelTable) -> list[tuple[str, str]]:
    """Names and values for the head of the page, as plain text."""
    made, judged = record.generate, record.classify or ClassifyRecord()
    facts: list[tuple[str, object]] = [("Run", record.run)]
    if made:
        psi = ", ".join(map(str, made.psi_sweep[:20])) if made.psi_sweep else made.truncation_psi
        facts += [
            ("Generator", made.network),
            ("Truncation ψ", psi),
            ("Truncated styles", made.truncation_cutoff),
            ("Projected styles", made.projected_w),
            ("Noise", made.noise_mode),
        ]
    else:
        facts.append(("Images", _end_of_path(judged.images)))
    others = list(record.judges or ())
    facts.append(("Classifier" if not others else "Classifiers", _with(judged.model, others)))
    facts.append(("Crop, filter", ", ".join(filter(None, (judged.crop, judged.filter))) or None))
    if table.seeds is not None:
        facts.append(("Seeds", ranges(table.seeds, limit=3)))
    return [(name, printable(plain(value), 80)) for name, value in facts if value is not None]


def licences(record: RunRecord) -> list[tuple[str, str]]:
    """Whose weights were used, and under which licence, as far as the run recorded it."""
    made, judged = record.generate, record.classify
    used = [("Generator", made.network, made.licence)] if made and made.network is not None else []
    used += [("Classifier", judged.model, judged.licence)] if judged and judged.model is not None else []
    further = (record.judges or {}).items()
    used += [("Classifier", name, one.classify.licence) for name, one in further if one.classify]
    unknown = "not recorded; see the model’s card"
    return [
        (f"{what} {printable(plain(name), 80)}", printable(plain(licence or unknown), 400))
        for what, name, licence in used
    ]


def _with(first: object, others: list[Any]) -> object:
    return first if not others else ", ".join(str(plain(name)) for name in (first, *others))


def _end_of_path(path: str | None) -> str | None:
    """The last two parts: enough to recognise, short enough for a line."""
    if path is None:
        return None
    return "/".join(path.rstrip("/").split("/")[-2:])
