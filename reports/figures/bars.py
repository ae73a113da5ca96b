"""Figures as inline SVG: sharp at every size, a few kilobytes, in the page's own colours.

They are drawn on a stretchable x axis (positions in per cent of the width) with text that keeps its size, so the same
figure is readable at 360 and at 1200 pixels. Colours come from the page's style sheet through classes (`bar`,
`whisker`, `uncertain`, …), and from `currentColor` where there is none; they derive from those of Okabe & Ito (2008,
'Color Universal Design'), which stay apart under the common colour vision deficiencies. Marks differ in position and
outline as well, and each figure has a description that gives its numbers in words, and a `title`, its accessible name.
`ident` is a prefix for element ids, of letters only and unique in the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from ..formatting import count, percent, percent_range, plural, printable
from ..html.document import render
from ..statistics.arrays import Floats
from ..statistics.shares import ConfidenceSummary, LabelShares, histogram
from ..statistics.sweep import Sweep

SHAPES = {
    "circle": "M0-4.5A4.5 4.5 0 1 1 0 4.5 4.5 4.5 0 1 1 0-4.5z",
    "diamond": "M0-6 6 0 0 6-6 0z",
    "triangle": "M0-5.5 5.5 4.5H-5.5z",
    "square": "M-4.2-4.2H4.2V4.2H-4.2z",
    "wedge": "M0 5.5 5.5-4.5H-5.5z",
    "cross": "M-1.6-5.2H1.6V-1.6H5.2V1.6H1.6V5.2H-1.6V1.6H-5.2V-1.6H-1.6z",
}
"""Marks by name, as SVG paths about their middle; a series has a shape and a colour, so that either will do."""

_ROW = 40  # pixels: a line of text and a bar
_AXIS_LIMITS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Bar:
    """One row of the label chart; lengths are in per cent of the axis."""

    label: str
    full_label: str
    value: str
    interval: str
    length: float
    low: float
    high: float
    marks: list[tuple[str, float]]
    """shapes, and where the estimates that they stand for lie"""


@dataclass(frozen=True)
class Series:
    """One line of an interval chart in each label: shares [K] with limits [K], fractions."""

    name: str
    shares: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, name: str, found: Any, order: Sequence[int] | None = None) -> Self:
        """The `shares`, `low` and `high` of an estimate, in another order of its classes if one is given."""
        rows = slice(None) if order is None else list(order)
        return cls(name, found.shares[rows], found.low[rows], found.high[rows])


def label_chart(
    shares: LabelShares, *, ident: str, title: str, marks: Sequence[tuple[str, str, ArrayLike]] = ()
) -> Markup:
    """Horizontal bars of the label shares with their intervals, most frequent first.

    Args:
        shares: K classes with intervals.
        marks: other estimates to mark on the bars: a shape of `SHAPES`, a name, and shares [K].
    """
    others = [(shape, name, np.asarray(values, np.float64)) for shape, name, values in marks]
    limit = _limit([shares.high, *(values for _, _, values in others)])
    bars = [
        Bar(
            label=_shortened(shares.classes[k]),
            full_label=printable(shares.classes[k]),
            value=f"{count(int(shares.counts[k]))} · {percent(shares.shares[k])}",
            interval=percent_range(shares.low[k], shares.high[k]),
            length=100 * shares.shares[k] / limit,
            low=100 * shares.low[k] / limit,
            high=100 * shares.high[k] / limit,
            marks=[(shape, 100 * float(values[k]) / limit) for shape, _, values in others],
        )
        for k in shares.ranking()
    ]
    description = f"Bars for {plural(shares.n, 'face')}. " + "; ".join(
        f"{bar.full_label}: {bar.value}, interval {bar.interval}"
        + "".join(f", {name} {percent(values[k])}" for _, name, values in others)
        for bar, k in zip(bars, shares.ranking(), strict=True)
    )
    ticks = [(100 * part / 4, f"{100 * limit * part / 4:g}{' %' if part == 4 else ''}") for part in range(5)]
    return render(
        "label_chart.svg.j2",
        ident=ident,
        title=title,
        description=description,
        bars=bars,
        ticks=ticks,
        shapes=SHAPES,
        row=_ROW,
        bottom=_ROW * len(bars),
        height=_ROW * len(bars) + 24,
    )


def interval_chart(
    classes: Sequence[str], series: Sequence[Series], *, ident: str, title: str, marks: Sequence[int] | None = None
) -> Markup:
    """Several estimates of the same shares below one another, label by label: a mark and its interval each.

    Args:
        classes: K labels, in the order of the rows.
        series: one to six, each with arrays in that order; told apart by shape and by colour.
        marks: which mark each of them has, as for :func:`legend_mark`; by default they have them in order.
    """
    limit = _limit([one.high for one in series])
    step, head, gap = 13, 21, 6
    block = head + step * len(series) + gap
    shapes = list(SHAPES)
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(classes):
        lines = [
            {
                "shape": shapes[mark % len(shapes)],
                "colour": mark % len(shapes),
                "x": 100 * float(one.shares[k]) / limit,
                "low": 100 * float(one.low[k]) / limit,
                "high": 100 * float(one.high[k]) / limit,
                "y": k * block + head + step * i + 3,
                "tip": f"{printable(one.name, 60)}: {percent(one.shares[k])} "
                f"({percent_range(one.low[k], one.high[k])})",
            }
            for i, (one, mark) in enumerate(zip(series, marks or range(len(series)), strict=True))
        ]
        rows.append({"label": _shortened(name, 40), "y": k * block, "lines": lines})
    description = "; ".join(
        f"{printable(name)}: " + ", ".join(line["tip"] for line in row["lines"])
        for name, row in zip(classes, rows, strict=True)
    )
    ticks = [(100 * part / 4, f"{100 * limit * part / 4:g}{' %' if part == 4 else ''}") for part in range(5)]
    return render(
        "interval_chart.svg.j2",
        ident=ident,
        title=title,
        description=description,
        rows=rows,
        ticks=ticks,
        shapes=SHAPES,
        head=head,
        block=block,
        gap=gap,
        bottom=block * len(rows),
    )


def legend_mark(place: int) -> Markup:
    """The mark of the series at a place in an interval chart, for a legend."""
    shapes = list(SHAPES)
    return render("legend_mark.svg.j2", path=SHAPES[shapes[place % len(shapes)]], colour=place % len(shapes))


def confidence_chart(summary: ConfidenceSummary, *, ident: str, title: str) -> Markup:
    """The histogram of top-label confidences, with the bins below the uncertainty threshold set apart."""
    bins = len(summary.histogram)
    peak = max(1, int(summary.histogram.max()))
    plot = 150.0  # pixels
    top = 22
    columns = [
        {
            "x": 100 * float(summary.bin_edges[i]) + 0.15 * 100 / bins / 2,
            "width": 0.85 * 100 / bins,
            "height": plot * int(n) / peak,
            "y": top + plot - plot * int(n) / peak,
            "uncertain": summary.bin_edges[i + 1] <= summary.threshold + 1e-9,
            "tip": f"{percent_range(summary.bin_edges[i], summary.bin_edges[i + 1], 0)}: {plural(int(n), 'face')}",
        }
        for i, n in enumerate(summary.histogram)
        if n
    ]
    description = (
        f"Histogram of {plural(int(summary.histogram.sum()), 'confidence')} in {bins} bins; "
        f"mean {percent(summary.mean)}, median {percent(summary.median)}, "
        f"{count(summary.uncertain)} below {percent(summary.threshold, 0)}; the fullest bin holds {count(peak)}."
    )
    return render(
        "confidence_chart.svg.j2",
        ident=ident,
        title=title,
        description=description,
        columns=columns,
        peak=count(peak),
        top=top,
        bottom=top + plot,
        height=top + plot + 24,
        threshold=100 * summary.threshold,
        mean=100 * summary.mean,
    )


def probability_chart(probabilities: ArrayLike, given: ArrayLike, *, ident: str, title: str) -> Markup:
    """The histogram of one class's probability over all faces, with the faces that got the label in front.

    The height is the square root of the count, so that a few likely faces show beside many impossible ones.

    Args:
        probabilities: [N] in [0, 1].
        given: bool [N], True where the face got this label.
    """
    values, mask = np.asarray(probabilities, np.float64), np.asarray(given, bool)
    every, labelled = histogram(values), histogram(values[mask])
    bins = len(every)
    peak = max(1, int(every.max()))
    plot = 64.0
    columns = [
        {
            "x": 100 * i / bins + 0.5,
            "width": 100 / bins - 1,
            "every": plot * float(np.sqrt(every[i] / peak)),
            "labelled": plot * float(np.sqrt(labelled[i] / peak)),
        }
        for i in range(bins)
        if every[i]
    ]
    description = (
        f"Histogram of the probability over {plural(int(every.sum()), 'face')}, of which {count(int(labelled.sum()))} "
        f"got this label; mean probability {percent(float(values.mean()) if values.size else 0.0)}."
    )
    return render(
        "probability_chart.svg.j2", ident=ident, title=title, description=description, columns=columns, plot=plot
    )


def sweep_chart(sweep: Sweep, k: int, *, ident: str, title: str) -> Markup:
    """The share of label `k` at each psi with its interval; all labels share one scale, so that they compare.

    psi is spaced by its value, and told below each point unless two points are too close for that.
    """
    top, plot, margin = 18, 84.0, 6.0  # pixels, pixels, per cent
    limit = _limit([shares.high for shares in sweep.shares])
    spread = float(sweep.psi[-1] - sweep.psi[0])
    points: list[dict[str, Any]] = []
    ticked = -100.0
    for psi, shares in zip(sweep.psi.tolist(), sweep.shares, strict=True):
        x = margin + (100 - 2 * margin) * (psi - float(sweep.psi[0])) / spread
        interval = percent_range(shares.low[k], shares.high[k])
        value = f"{count(int(shares.counts[k]))} · {percent(shares.shares[k])}"
        height = {
            name: top + plot * (1 - float(getattr(shares, name)[k]) / limit) for name in ("shares", "low", "high")
        }
        points.append(
            {
                "x": x,
                "y": height["shares"],
                "low": height["low"],
                "high": height["high"],
                "tick": f"{psi:g}" if x - ticked >= 12 else "",
                "tip": f"ψ {psi:g}: {value} ({interval})",
            }
        )
        ticked = x if points[-1]["tick"] else ticked
    steps = [{"x1": a["x"], "y1": a["y"], "x2": b["x"], "y2": b["y"]} for a, b in zip(points, points[1:], strict=False)]
    return render(
        "sweep_chart.svg.j2",
        ident=ident,
        title=title,
        description="; ".join(point["tip"] for point in points),
        points=points,
        steps=steps,
        limit=percent(limit, 0),
        top=top,
        plot=plot,
    )


def _limit(values: Sequence[ArrayLike]) -> float:
    """The end of an axis from 0 that holds all values."""
    top = max(float(np.max(array)) for array in values)
    return next(value for value in _AXIS_LIMITS if value >= min(top, 1.0))


def _shortened(label: str, limit: int = 20) -> str:
    shown = printable(label)
    return shown if len(shown) <= limit else shown[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
