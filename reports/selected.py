"""Faces that were selected: a classifier drew until it had found what somebody wanted, so its labels prove nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..data.run_record.run import RunRecord, SelectedRecord, SteeredRate
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
class Selected:
    """How the faces of a run were selected; `found` is None where the run does not tell what was found."""

    judge: str
    second: str
    min_confidence: float | None
    found: SelectedRecord | None = None
    labels: tuple[SelectedLabel, ...] = ()
    steered: Mapping[str, SteeredRate] = field(default_factory=dict)
    """by label the faces moved towards it; the rates of `labels` are then those of the seeds drawn as they are"""

    @property
    def alone(self) -> int:
        """Seeds that were drawn as they are, where others were moved."""
        return min(self.found.steered_after or 0, self.found.seeds_seen) if self.found else 0

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
        if self.found is None:
            return f"These faces were selected by {self.judge}{sure}; its shares are what somebody asked for."
        kept = listed([f"{count(row.kept)} {row.name}" for row in self.labels])
        rates = listed([f"{row.name} {percent(row.rate[0])} ({percent_range(*row.rate[1:])})" for row in self.labels])
        text = (
            f"{self.judge} judged the faces of {plural(self.found.seeds_seen, 'seed')} and kept {kept}{sure}. How many "
            "there are of each was asked for, so these shares say nothing about the generator; "
        )
        if self.found.by_class:
            return f"{text}drawn class by class, it found the expression that the class names in {rates}."
        if self.steered:
            return f"{text}of the {plural(self.alone, 'seed')} drawn as they are it is {rates}. {self.moved}"
        return f"{text}of all seeds drawn it is {rates}."

    @property
    def moved(self) -> str:
        """The steered faces, as a sentence."""
        parts = [
            f"{count(row.kept)} of the {name} ones ({self.second} agrees on {count(row.agree)})"
            for name, row in self.steered.items()
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
        agreement = self.found.agreement_of_all.limits if self.found else None
        if agreement is None:
            return f"{text} No other judge was asked."
        worst = min((row for row in self.labels if row.agreement), key=lambda row: row.agreement or (1.0,))
        text += (
            f" {self.second}, which had no say, gives the same label to {percent(agreement[0])} of them "
            f"({percent_range(*agreement[1:])})"
        )
        if len(self.labels) > 1 and worst.agreement:
            text += f", to the {worst.name} ones least often ({percent(worst.agreement[0])})"
        return f"{text}.{' ' + self.caution if self.caution else ''}"

    @property
    def caution(self) -> str:
        """Reason why the second judge is less of a check than it looks; empty where none is known."""
        if self.found is None or not self.found.judges_are_related:
            return ""
        return (
            "The two are related: a member or a teacher of one is the other, or has a part in it. They err together "
            "and agree more than strangers would."
        )


def read_selected(record: RunRecord) -> Selected | None:
    """How the faces of a run were selected; None where nobody selected them."""
    made, found = record.generate, record.selected
    if made is None or made.want is None:
        return None
    judge, second = (printable(plain(name or "another classifier"), 80) for name in (made.judge, made.second_judge))
    sure = None if made.min_confidence is None else float(made.min_confidence)
    rows = _rows(found) if found else None
    if found is None or rows is None:
        return Selected(judge, second, sure)
    steered = {printable(label, 60): row for label, row in (found.steered or {}).items() if row.limits}
    return Selected(judge, second, sure, found, rows, steered)


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
    found = selected.found
    return {
        "judge": plain(selected.judge),
        "second_judge": plain(selected.second),
        "judges_are_related": found is not None and found.judges_are_related,
        "by_class": found is not None and found.by_class,
        "min_confidence": selected.min_confidence,
        "seeds_seen": found.seeds_seen if found else 0,
        "sentence": f"{selected.sentence} {selected.check}",
        "agreement": _estimate(found.agreement_of_all.limits if found else None),
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
            name: {"drawn": row.n, "rate": _estimate(row.limits), "kept": row.kept, "agreed": row.agree}
            for name, row in selected.steered.items()
        },
    }


def _estimate(limits: tuple[float, float, float] | None) -> dict[str, float] | None:
    return None if limits is None else dict(zip(_KEYS, limits, strict=True))
