"""Faces that were selected: a classifier drew until it had found what somebody wanted, so its labels prove nothing."""

from dataclasses import dataclass
from typing import Any

from ..data.run_record.run import RunRecord, SelectedRecord
from .formatting import count, listed, percent, percent_range, plural, printable
from .settings import plain

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
            f"No shares are corrected: these faces were selected by {self.judge}, so their labels are no sample of "
            "what the generator makes, and nothing that corrects for mistakes holds for them."
        )

    @property
    def sentence(self) -> str:
        """What was selected, by whom and from what."""
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
        """What the judge says that had no say."""
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
        """What makes the second judge less of a check than it looks; empty where nothing is known."""
        if not self.related:
            return ""
        return "One of the two is a member of the other, so they err together and agree more than strangers would."


def read_selected(record: RunRecord) -> Selected | None:
    """How the faces of a run were selected; None where nobody selected them."""
    made, found = record.generate, record.selected
    if made is None or made.want is None:
        return None
    judge, second = (printable(plain(name or "another classifier"), 80) for name in (made.judge, made.second_judge))
    sure = None if made.min_confidence is None else float(made.min_confidence)
    rows = _rows(found) if found else None
    if found is None or rows is None:
        return Selected(judge, second, sure, 0, 0, (), 0, None, False)
    return Selected(
        judge,
        second,
        sure,
        found.seeds_seen,
        found.kept,
        rows,
        found.agreement_of_all.k,
        found.agreement_of_all.limits,
        found.judges_are_related,
        tuple(
            SteeredLabel(printable(label, 60), row.n, row.limits, row.kept, row.agree)
            for label, row in (found.steered or {}).items()
            if row.limits
        ),
        min(found.steered_after or 0, found.seeds_seen),
        found.by_class,
    )


def _rows(found: SelectedRecord) -> tuple[SelectedLabel, ...] | None:
    """The wanted labels; None where it is not known how often one comes."""
    rows = []
    for label, wanted in found.wanted.items():
        # where all seeds were steered, none was drawn as it is
        rate = found.rates[label].limits or (None if found.steered is None else (0.0, 0.0, 1.0))
        if rate is None:
            return None
        agreed = found.agreement[label]
        rows.append(SelectedLabel(printable(label, 60), wanted, found.found[label], rate, agreed.k, agreed.limits))
    return tuple(rows)


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
