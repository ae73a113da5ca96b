"""Faces that were selected: a classifier drew until it had found what somebody wanted, so its labels prove nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .formatting import count, listed, percent, percent_range, plural, printable
from .settings import plain, step_settings

_KEYS = ("share", "low", "high")


@dataclass(frozen=True)
class SelectedLabel:
    """One wanted label: `rate` of the seeds drawn, and the share of the kept faces on which the second judge agrees.

    Both are (share, low, high) with Wilson 95 % intervals; `agreement` is None where no face was kept.
    """

    name: str
    wanted: int
    kept: int
    rate: tuple[float, float, float]
    agreed: int
    agreement: tuple[float, float, float] | None


@dataclass(frozen=True)
class SteeredLabel:
    """Faces moved towards a label: of `drawn` the judge found it in the share `rate` (share, low, high); of the `kept`
    the second judge agrees on `agreed`."""

    name: str
    drawn: int
    rate: tuple[float, float, float]
    kept: int
    agreed: int


@dataclass(frozen=True)
class Selected:
    """How the faces of a run were selected; `labels` is empty where the run does not tell what was found."""

    judge: str
    second: str
    min_confidence: float | None
    seeds: int
    kept: int
    labels: tuple[SelectedLabel, ...]
    agreed: int
    agreement: tuple[float, float, float] | None
    related: bool
    """whether one judge is a member of the other"""
    steered: tuple[SteeredLabel, ...] = ()
    """of labels towards which faces were moved; the rates of `labels` are then those of the seeds drawn as they are"""
    alone: int = 0
    """seeds that were drawn as they are, where others were moved"""
    by_class: bool = False
    """whether each face was drawn in the class of its label; rates are then those of the class"""

    @property
    def why_uncorrected(self) -> str:
        """Why no corrected shares are quoted, as a sentence."""
        return (
            f"No shares are corrected: these faces were selected by {self.judge}, so their labels are not a sample of "
            "what the generator makes, and nothing that corrects for mistakes holds for them."
        )

    @property
    def sentence(self) -> str:
        """Sentence on what was selected, by whom and from what."""
        sure = f" with a confidence of {percent(self.min_confidence, 0)} or more" if self.min_confidence else ""
        if not self.labels:
            return f"These faces were selected by {self.judge}{sure}; its shares are what somebody asked for."
        kept = listed([f"{count(row.kept)} {row.name}" for row in self.labels])
        rates = listed([f"{row.name} {percent(row.rate[0])} ({percent_range(*row.rate[1:])})" for row in self.labels])
        text = (
            f"{self.judge} judged the faces of {plural(self.seeds, 'seed')} and kept {kept}{sure}. How many there are "
            "of each was asked for, so these shares say nothing about the generator; "
        )
        if self.by_class:
            return f"{text}drawn class by class, it found the expression that the class names in {rates}."
        if self.steered:
            return f"{text}of the {plural(self.alone, 'seed')} drawn as they are it is {rates}. {self.moved}"
        return f"{text}of all seeds drawn it is {rates}."

    @property
    def moved(self) -> str:
        """The steered faces, as a sentence."""
        parts = [
            f"{count(row.kept)} of the {row.name} ones ({self.second} agrees on {count(row.agreed)})"
            for row in self.steered
            if row.kept
        ]
        if not parts:
            return "Later seeds were moved towards what was missing, and none of them was kept."
        return (
            f"Faces of later seeds were moved along directions learnt from a judge; so were {listed(parts)}. Such "
            "faces are further from what the generator makes, and may be broken."
        )

    @property
    def check(self) -> str:
        """Answer of the judge that had no say, in a sentence or two."""
        text = f"The labels are those by which {self.judge} selected the faces; they are right to it whatever they are."
        if self.agreement is None:
            return f"{text} No other judge was asked."
        worst = min((row for row in self.labels if row.agreement), key=lambda row: row.agreement or (1.0,))
        text += (
            f" {self.second}, which had no say, gives the same label to {percent(self.agreement[0])} of them "
            f"({percent_range(*self.agreement[1:])})"
        )
        if len(self.labels) > 1 and worst.agreement:
            text += f", to the {worst.name} ones least often ({percent(worst.agreement[0])})"
        return f"{text}.{' ' + self.caution if self.caution else ''}"

    @property
    def caution(self) -> str:
        """Reason why the second judge is less of a check than it looks; empty where none is known."""
        if not self.related:
            return ""
        return "One of the two is a member of the other, so they err together and agree more than strangers would."


def read_selected(settings: Mapping[str, Any]) -> Selected | None:
    """How the faces of a run were selected, by its settings; None where nobody selected them."""
    made = step_settings(settings, "generate")
    if made.get("want") is None:
        return None
    judge, second = (printable(plain(made.get(key) or "another classifier"), 80) for key in ("judge", "second_judge"))
    least = made.get("min_confidence")
    sure = float(least) if isinstance(least, int | float) else None
    try:
        found = settings["selected"]
        rows = tuple(_row(found, str(label)) for label in found["wanted"])
        whole = found["agreement_of_all"]
        return Selected(
            judge,
            second,
            sure,
            int(found["seeds_seen"]),
            int(found["kept"]),
            rows,
            int(whole["agree"]),
            _limits(whole),
            found["judges_are_related"] is True,
            _steered(found),
            int(found.get("steered_after", 0)) and min(int(found["steered_after"]), int(found["seeds_seen"])),
            found["by_class"] is True,
        )
    except (KeyError, TypeError, ValueError):
        return Selected(judge, second, sure, 0, 0, (), 0, None, False)


def _steered(found: Mapping[str, Any]) -> tuple[SteeredLabel, ...]:
    rows = []
    for label, row in (found.get("steered") or {}).items():
        rate = _limits(row)
        if rate is not None:
            rows.append(
                SteeredLabel(printable(str(label), 60), int(row["n"]), rate, int(row["kept"]), int(row["agree"]))
            )
    return tuple(rows)


def _row(found: Mapping[str, Any], label: str) -> SelectedLabel:
    agreed = found["agreement"][label]
    rate = _limits(found["rates"][label])
    if rate is None and "steered" in found:  # no seed was drawn as it is
        rate = (0.0, 0.0, 1.0)
    if rate is None:
        raise ValueError(label)
    return SelectedLabel(
        printable(label, 60),
        int(found["wanted"][label]),
        int(found["found"][label]),
        rate,
        int(agreed["agree"]),
        _limits(agreed),
    )


def _limits(row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    share, low, high = (row[key] for key in _KEYS)
    return None if share is None else (float(share), float(low), float(high))


def selected_data(selected: Selected | None) -> dict[str, Any] | None:
    """The selection as plain JSON values."""
    if selected is None:
        return None
    return {
        "judge": plain(selected.judge),
        "second_judge": plain(selected.second),
        "judges_are_related": selected.related,
        "by_class": selected.by_class,
        "min_confidence": selected.min_confidence,
        "seeds_seen": selected.seeds,
        "sentence": f"{selected.sentence} {selected.check}",
        "agreement": _estimate(selected.agreement),
        "labels": {
            row.name: {
                "wanted": row.wanted,
                "kept": row.kept,
                "rate": _estimate(row.rate),
                "agreed": row.agreed,
                "agreement": _estimate(row.agreement),
            }
            for row in selected.labels
        },
        "steered": {
            row.name: {"drawn": row.drawn, "rate": _estimate(row.rate), "kept": row.kept, "agreed": row.agreed}
            for row in selected.steered
        },
    }


def _estimate(limits: tuple[float, float, float] | None) -> dict[str, float] | None:
    return None if limits is None else dict(zip(_KEYS, limits, strict=True))
