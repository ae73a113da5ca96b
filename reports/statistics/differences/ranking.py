"""Who is better on the same faces, and by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Entry:
    """An evaluation: the contents of ``evaluation.json``, and bool [N], whether each face was answered right."""

    data: Mapping[str, Any]
    right: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Row:
    """One model of a table; shares and intervals as in ``evaluation.json``."""

    name: str
    sha256: str
    short_run: bool
    epochs: int | None
    seconds: int | None
    parameters: int | None
    macs: int | None
    single: Mapping[str, float]
    several: Mapping[str, float] | None
    views: str | None
    without_leaks: Mapping[str, float] | None
    macro_f1: float
    ece: float
    faces_per_second: float
    better: int | None
    worse: int | None
    p_value: float | None


@dataclass(frozen=True)
class Ranking:
    """The models evaluated on the same faces, best first by the accuracy of a single view.

    `better` and `worse` of its rows count the faces that only this model, and only the first one, answered right.
    """

    data: str
    n: int
    row_hash: str
    rows: list[Row]


def rank(entries: Sequence[Entry]) -> list[Ranking]:
    """Rankings, one for each set of faces, in the order in which the sets first come.

    An evaluation of the same model on the same faces counts once, the last one that is given.
    """
    groups: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.data["data"]["row_hash"], {})[entry.data["model"]["sha256"]] = entry
    return [_ranking(list(group.values())) for group in groups.values()]


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of two models' answers to the same faces (McNemar 1947).

    Args:
        only_first, only_second: faces that only one of the two answered right.
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(min(only_first, only_second), differing).pvalue) if differing else 1.0


def _ranking(entries: list[Entry]) -> Ranking:
    ordered = sorted(entries, key=lambda entry: -entry.data["views"]["single"]["correct"])
    best = ordered[0]
    return Ranking(
        data=best.data["data"]["name"],
        n=best.data["data"]["n"],
        row_hash=best.data["data"]["row_hash"],
        rows=[_row(entry, best) for entry in ordered],
    )


def _row(entry: Entry, best: Entry) -> Row:
    data, single = entry.data, entry.data["views"]["single"]
    views = list(data["views"])[-1]
    without = data["leaks"]["without"]
    better = worse = p_value = None
    if entry is not best and entry.right is not None and best.right is not None:
        better, worse = int((entry.right & ~best.right).sum()), int((best.right & ~entry.right).sum())
        p_value = mcnemar(better, worse)
    return Row(
        name=data["model"]["name"],
        sha256=data["model"]["sha256"],
        short_run=data["model"]["short_run"],
        epochs=data["model"].get("epochs"),
        seconds=data["model"].get("seconds"),
        parameters=data["model"]["parameters"],
        macs=data["model"]["macs"],
        single=single["accuracy"],
        several=None if views == "single" else data["views"][views]["accuracy"],
        views=None if views == "single" else views,
        without_leaks=without and without["single"]["accuracy"],
        macro_f1=single["macro_f1"],
        ece=single["ece"],
        faces_per_second=data["speed"]["faces_per_second"],
        better=better,
        worse=worse,
        p_value=p_value,
    )
