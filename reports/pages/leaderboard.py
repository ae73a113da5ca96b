"""Several evaluations in one table: who is better on the same faces, and by more than chance."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..formatting import EN_DASH, NBSP, percent, percent_range, plural, printable
from ..html.document import render_document
from ..statistics.differences.ranking import Ranking, Row

HEADINGS = (
    "Model",
    "Training",
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
    "the first row's, face by face. Training as the model's card tells it; short: fewer epochs than its recipe asks. "
    "Faces/s as measured by each evaluation: compare them only from one machine."
)


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
        printable(row.name, 60),
        _training(row),
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
    """The heading of a table: the data and the number of faces."""
    return f"{printable(ranking.data, 120)}: {plural(ranking.n, 'face')}"


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
        *("page.css", "page.js"),
        title="Classifiers compared",
        created=created,
        tables=[(heading(ranking), [texts(row) for row in ranking.rows]) for ranking in rankings],
        headings=HEADINGS,
        note=NOTE,
    )


def _training(row: Row) -> str:
    parts = [] if row.epochs is None else [plural(row.epochs, "epoch")]
    parts += [] if row.seconds is None else [f"{row.seconds / 3600:.1f}{NBSP}h"]
    return ", ".join(parts + ["short run"] * row.short_run) or EN_DASH


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
