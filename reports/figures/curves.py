"""Line charts as inline SVG: ROC and learning curves, and reliability diagrams; see :mod:`.bars` for the manner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from ..formatting import NBSP, percent, plural
from ..html.document import render

_TOP = 16  # pixels
_SHARES = ((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, f"100{NBSP}%"))


@dataclass(frozen=True)
class Line:
    """A curve: x and y [P] in 0..1, the number of its colour (-1: the diagonal's gray), and whether it is dashed."""

    x: ArrayLike
    y: ArrayLike
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class _Bar:
    x: float
    width: float
    y: float
    height: float
    tip: str


def roc_chart(false_positive: ArrayLike, true_positive: ArrayLike, *, auc: float, ident: str, title: str) -> Markup:
    """One class against the rest, with the diagonal of a guess.

    Args:
        false_positive, true_positive: rates [P] in 0..1.
        auc: area under the curve.
    """
    return _chart(
        [Line([0, 1], [0, 1], -1, True), Line(false_positive, true_positive)],
        x_ticks=_SHARES,
        y_ticks=_SHARES[2::2],
        ident=ident,
        title=title,
        description=f"ROC curve; the area under it is {auc:.3f}.",
        plot=130,
    )


def reliability_chart(accuracy: Sequence[float | None], counts: Sequence[int], *, ident: str, title: str) -> Markup:
    """How often the answer is right, in equal bins of its confidence, with the diagonal of a calibrated classifier.

    Args:
        accuracy: [B] in 0..1, None for an empty bin.
        counts: [B], faces in each bin.
    """
    bins, plot = len(counts), 150.0
    bars = [
        _Bar(
            x=100 * (i + 0.06) / bins,
            width=100 * 0.88 / bins,
            y=_TOP + plot * (1 - value),
            height=plot * value,
            tip=f"confidence {percent(i / bins, 0)} to {percent((i + 1) / bins, 0)}: "
            f"{plural(counts[i], 'face')}, {percent(value)} right",
        )
        for i, value in enumerate(accuracy)
        if value is not None
    ]
    return _chart(
        [Line([0, 1], [0, 1], -1, True)],
        x_ticks=_SHARES,
        y_ticks=_SHARES[2::2],
        ident=ident,
        title=title,
        description="; ".join(bar.tip for bar in bars) or "No faces.",
        plot=plot,
        bars=bars,
    )


def learning_chart(
    training: Sequence[float | None],
    validation: Sequence[float | None],
    *,
    shares: bool,
    ident: str,
    title: str,
    unit: str = "epoch",
) -> Markup:
    """A quantity by epoch, of training (first colour, dashed) and of validation (second colour).

    Args:
        training, validation: values by epoch, None where there is none.
        shares: whether they are fractions to be written in per cent; else the axis begins at 0.
        unit: what is counted across.
    """
    values = [value for value in [*training, *validation] if value is not None]
    low, high = (min(values), max(values)) if shares else (0.0, max(values))
    if shares:
        low, high = math.floor(10 * low) / 10, math.ceil(10 * high) / 10
    spread = (high - low) or 1.0
    last = max(len(training), len(validation)) - 1

    def line(series: Sequence[float | None], colour: int, dashed: bool) -> Line:
        known = [(i / max(last, 1), (value - low) / spread) for i, value in enumerate(series) if value is not None]
        return Line([x for x, _ in known], [y for _, y in known], colour, dashed)

    def tell(value: float) -> str:
        return percent(value, 0) if shares else f"{value:.2f}"

    steps = (0.0, 0.5, 1.0)
    return _chart(
        [line(training, 0, True), line(validation, 1, False)],
        x_ticks=[(0.0, f"{unit} 1"), (1.0, str(last + 1))],
        y_ticks=[(y, tell(low + y * spread)) for y in steps[1:]] + ([(0.0, tell(low))] if shares else []),
        ident=ident,
        title=title,
        description=f"{plural(last + 1, unit)}; from {tell(min(values))} to {tell(max(values))}.",
        plot=160,
    )


def _chart(
    lines: Sequence[Line],
    *,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    ident: str,
    title: str,
    description: str,
    plot: float,
    bars: Sequence[_Bar] = (),
) -> Markup:
    """Ticks are fractions of the axes, with their texts."""
    drawn = [
        {
            "points": " ".join(
                f"{x:.4f},{1 - y:.4f}" for x, y in zip(np.asarray(line.x), np.asarray(line.y), strict=True)
            ),
            "colour": "diagonal" if line.colour < 0 else line.colour,
            "dashed": line.dashed,
        }
        for line in lines
    ]
    return render(
        "curve_chart.svg.j2",
        ident=ident,
        title=title,
        description=description,
        lines=drawn,
        bars=bars,
        x_ticks=[(100 * x, text) for x, text in x_ticks],
        y_ticks=[(_TOP + plot * (1 - y), text) for y, text in y_ticks],
        top=_TOP,
        plot=plot,
    )
