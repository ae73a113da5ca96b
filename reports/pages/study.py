"""The page of a search for settings: which trials there were, how they did, and what seems to matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..conclusions import Conclusion
from ..figures.curves import learning_chart
from ..formatting import moment, percent, plural, printable
from ..html.document import render, render_document

_PLOT = 120  # pixels


def build_study_page(
    trials: pd.DataFrame,
    *,
    recipe: str,
    space: Sequence[tuple[str, str, bool, bool]],
    importance: Mapping[str, float],
    created: datetime,
) -> str:
    """One HTML file.

    Args:
        trials: a row a trial, in their order: ``trial``, ``state`` (``finished`` or ``ended early``), ``accuracy``
            0..1, ``epochs``, ``seconds``, and a column for each setting.
        recipe: its name.
        space: of each setting that was varied: the range as text, its column, whether the range is logarithmic, and
            whether it is a choice.
        importance: share of the spread of accuracies that a setting explains, by column; empty where nobody can tell.
        created: when.
    """
    finished = trials[trials["state"] == "finished"]
    best = None if finished.empty else finished.iloc[int(finished["accuracy"].to_numpy().argmax())]
    ranked = trials.sort_values(["state", "accuracy"], ascending=[False, False])
    return render_document(
        "study.html.j2",
        *("page.css", "evaluation.css", "study.css", "page.js"),
        title=f"Search of settings for {printable(recipe, 60)}",
        created=moment(created.isoformat()),
        conclusions=_conclude(trials, best, space, importance),
        keys=[column.rpartition(".")[2] for _, column, _, _ in space],
        rows=[
            (
                row,
                [_short(row[column]) for _, column, _, _ in space],
                best is not None and row["trial"] == best["trial"],
            )
            for row in ranked.to_dict("records")
        ],
        slices=[
            (printable(text, 90), _slice(trials, column, log, choice, number))
            for number, (text, column, log, choice) in enumerate(space)
        ],
        importance=[(name.rpartition(".")[2], value) for name, value in importance.items()],
        progress=_progress(trials),
    )


def _conclude(
    trials: pd.DataFrame,
    best: pd.Series | None,
    space: Sequence[tuple[str, str, bool, bool]],
    importance: Mapping[str, float],
) -> list[Conclusion]:
    early = int((trials["state"] != "finished").sum())
    done = f"{plural(len(trials), 'trial')}, of which {early} ended early for falling behind the median of the others."
    if best is None:
        return [Conclusion("What was tried", f"{done} None was finished yet.")]
    settings = ", ".join(f"{column.rpartition('.')[2]} {_short(best[column])}" for _, column, _, _ in space)
    found = [
        Conclusion("What was tried", done),
        Conclusion(
            "The best", f"Trial {best['trial']}: {percent(best['accuracy'])} of the validation faces, with {settings}."
        ),
        Conclusion(
            "What to remember",
            "The best of many trials on the same faces looks better than it is: train it anew, longer, and judge it "
            "on faces that chose nothing.",
        ),
    ]
    if importance:
        name, share = next(iter(importance.items()))
        text = f"{name.rpartition('.')[2]} explains {percent(share, 0)} of the spread between trials (fANOVA)."
        found.insert(2, Conclusion("What mattered", text))
    return found


def _progress(trials: pd.DataFrame) -> Markup:
    """Accuracy by trial, and the best so far."""
    finished = trials["accuracy"].where(trials["state"] == "finished")
    so_far = finished.cummax()
    return (
        learning_chart(
            [None if math.isnan(value) else value for value in finished],
            [None if math.isnan(value) else value for value in so_far],
            shares=True,
            unit="trial",
            ident="progress",
            title="Validation accuracy by trial",
        )
        if finished.notna().any()
        else Markup("")
    )


def _slice(trials: pd.DataFrame, column: str, log: bool, choice: bool, number: int) -> Markup:
    """Accuracy over one setting, a dot a trial."""
    values: list[Any] = trials[column].astype(str if choice else float).tolist()
    order = sorted(set(values))
    if choice:
        numbers = [float(order.index(value)) for value in values]
    else:
        numbers = [math.log(value) if log else value for value in values]
    low, high = min(numbers), max(numbers)
    bottom, top = math.floor(20 * trials["accuracy"].min()) / 20, math.ceil(20 * trials["accuracy"].max()) / 20
    dots: list[dict[str, Any]] = [
        {
            "x": 4 + 92 * (x - low) / ((high - low) or 1),
            "y": _PLOT * (1 - (accuracy - bottom) / ((top - bottom) or 1)),
            "early": state != "finished",
            "tip": f"trial {trial}: {_short(value)}, {percent(accuracy)}"
            + (", ended early" if state != "finished" else ""),
        }
        for x, value, accuracy, state, trial in zip(
            numbers, values, trials["accuracy"], trials["state"], trials["trial"], strict=True
        )
    ]
    ends = (_short(order[0]), _short(order[-1]))
    return render(
        "slice_chart.svg.j2",
        ident=f"slice{number}",
        title=f"Accuracy over {printable(column, 60)}",
        dots=dots,
        ends=ends,
        levels=(percent(bottom, 0), percent(top, 0)),
        plot=_PLOT,
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value), 24)
