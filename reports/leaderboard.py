"""Several evaluations in one table: who is better on the same faces, and by more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .document import asset, render_document
from .formatting import EN_DASH, NBSP, count, percent, percent_range, printable

HEADINGS = (
    "Model",
    "Parameters",
    "MACs",
    "Accuracy (95 %)",
    "Several views",
    "Without leaks",
    "Macro F1",
    "ECE",
    "Faces/s",
    "p",
)

NOTE = (
    "Accuracy of a single view with Wilson's 95 % interval; of the mean of several views where that was evaluated; "
    "without the faces that the training rows hold too. p: McNemar's exact test of the single views' answers against "
    "the first row's, face by face. Faces/s as measured by each evaluation: compare them only from one machine."
)


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


def leaderboard_data(rankings: Sequence[Ranking]) -> dict[str, Any]:
    """All of it as plain JSON values."""
    return {
        "format": {"name": "fergan.leaderboard", "version": 1},
        "tables": [{**vars(ranking), "rows": [vars(row) for row in ranking.rows]} for ranking in rankings],
    }


def texts(row: Row) -> list[str]:
    """A row as it is read, one text for each of `HEADINGS`."""
    several = _accuracy(row.several)
    if row.several is not None:
        several += f", {row.views}"
    return [
        printable(row.name, 60) + (" (short run)" if row.short_run else ""),
        EN_DASH if row.parameters is None else _short(row.parameters),
        EN_DASH if row.macs is None else _short(row.macs),
        _accuracy(row.single),
        several,
        _accuracy(row.without_leaks),
        f"{row.macro_f1:.3f}",
        percent(row.ece),
        f"{row.faces_per_second:.0f}",
        EN_DASH if row.p_value is None else f"{row.p_value:.3f}" if row.p_value >= 0.001 else "< 0.001",
    ]


def heading(ranking: Ranking) -> str:
    """What a table is about."""
    return f"{printable(ranking.data, 120)}: {count(ranking.n)} faces"


def leaderboard_markdown(rankings: Sequence[Ranking]) -> str:
    """Tables of GitHub's Markdown."""
    parts = []
    for ranking in rankings:
        lines = [f"## {_cell(heading(ranking))}", "", _line(HEADINGS)]
        lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(HEADINGS))) + "|")
        lines += [_line([_cell(text) for text in texts(row)]) for row in ranking.rows]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, NOTE]) + "\n"


def leaderboard_page(rankings: Sequence[Ranking], created: str) -> str:
    """One HTML file in the reports' look; it loads nothing."""
    return render_document(
        "leaderboard.html.j2",
        styles=[asset("page.css")],
        scripts=[asset("page.js")],
        title="Classifiers compared",
        created=created,
        tables=[(heading(ranking), [texts(row) for row in ranking.rows]) for ranking in rankings],
        headings=HEADINGS,
        note=NOTE,
    )


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


def _accuracy(one: Mapping[str, float] | None) -> str:
    return EN_DASH if one is None else f"{percent(one['value'])} ({percent_range(one['low'], one['high'])})"


def _short(n: int) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.3g}{NBSP}{name}"
    return str(n)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
