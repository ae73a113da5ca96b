"""Shares corrected for the classifier's mistakes, with all that speaks against them: a page shows neither alone."""

from dataclasses import dataclass, replace

import numpy as np

from .formatting import listed, percent, plural, printable
from .statistics.correction.agreement import Agreement, agreement_test
from .statistics.correction.confusion import FEW, answers_by_class
from .statistics.correction.depth import DepthCheck, compare_confidence
from .statistics.correction.fit import ALARM, LabelShiftTest, label_shift_test
from .statistics.correction.prevalence import Prevalence, PrevalenceEstimate, Validation, estimate_prevalence
from .statistics.correction.sensitivity import SensitivityBand, sensitivity_band
from .statistics.differences.preparation import PreparationSensitivity
from .statistics.table import LabelTable

BLIND_SPOT = (
    "The test cannot see other mistakes where all expressions are common, nor a fifth of the faces being answered like "
    "those of another expression: either looks like other shares."
)
"""What the fit test does not find; whoever shows its verdict shows this with it."""

REFUTED_REFERENCE = "These labels refute that it answers these faces so; read no distance to true expressions from it."
"""What whoever shows a reference 'as labels' adds where the correction is refuted."""


@dataclass(frozen=True)
class Correction:
    """Corrected shares and the checks of what they rest on.

    `label_shift` tests the assumption of all of them, `depth` whether confidences carry over, as PACC and EM need, and
    `agreement` whether the three differ by more than luck.
    """

    name: str
    """of the validation faces"""
    prevalence: Prevalence
    band: SensitivityBand
    depth: DepthCheck
    label_shift: LabelShiftTest
    agreement: Agreement

    @property
    def refuted(self) -> bool:
        """Whether these labels refute the correction: no corrected share may then be quoted as if it stood."""
        return self.label_shift.verdict == "refuted"

    @property
    def doubts(self) -> dict[str, str]:
        """By method why it does not stand, in words; a method that nothing speaks against is not in it."""
        found: dict[str, str] = {}
        for estimate in self.prevalence.estimates:
            reason = None
            if self.refuted:
                reason = "the labels refute the correction"
            elif estimate.method == "ACC":
                continue
            elif self.depth.verdict != "as expected":
                reason = f"it needs confidences that carry over, and the classifier is {self.depth.verdict} here"
            elif self.agreement.p_value < ALARM:
                reason = "it differs from ACC by more than luck"
            elif len(estimate.outside):
                reason = "its shares lie outside their own intervals"
            if reason is not None:
                found[estimate.method] = reason
        return found


def correct(table: LabelTable, validation: Validation, preparation: PreparationSensitivity | None = None) -> Correction:
    """Correct the shares of a table of labels, and check what the correction rests on.

    Args:
        table: the faces.
        validation: the same classifier's answers on labelled faces.
        preparation: how the labels depend on crop and filter; its distances to the training faces are compared too.

    Raises:
        ValueError: the validation faces do not serve, for example a class without any.
    """
    prevalence = estimate_prevalence(
        table.probabilities, validation.labels, validation.probabilities, methods=("ACC", "PACC", "EM")
    )
    acc = prevalence["ACC"]
    complete = preparation is not None and len(preparation.validation_distances or ()) == len(validation.labels)
    depth = compare_confidence(
        table.probabilities,
        validation,
        acc.shares,
        distances=preparation.distances if complete and preparation else None,
        validation_distances=preparation.validation_distances if complete and preparation else None,
    )
    return Correction(
        validation.name,
        prevalence,
        sensitivity_band(table.codes, validation),
        depth,
        tested_label_shift(table, validation, acc),
        agreement_test(table.probabilities, validation, acc.shares),
    )


def tested_label_shift(table: LabelTable, validation: Validation, acc: PrevalenceEstimate) -> LabelShiftTest:
    """Whether these labels refute a correction by these validation faces, by the fit or by ACC's shares themselves."""
    counts = np.bincount(table.codes, minlength=len(table.classes))
    test = label_shift_test(counts, answers_by_class(validation.probabilities, validation.labels))
    return replace(test, verdict="refuted") if len(acc.outside) else test


def unseen(validation: Validation, classes: tuple[str, ...]) -> list[str]:
    """The labels that no validation face shows, ready to be printed."""
    per_class = np.bincount(np.asarray(validation.labels, np.int64), minlength=len(classes))
    return [printable(name, 60) for name, n in zip(classes, per_class, strict=False) if not n]


def shares_beside(correction: Correction, classes: tuple[str, ...]) -> str | None:
    """A note on shares outside the interval of their label, where the limits for all labels at once still hold them."""
    found = [
        f"{printable(classes[k], 60)} ({estimate.method})"
        for estimate in correction.prevalence.estimates
        if estimate.method not in correction.doubts
        for k in estimate.beside
    ]
    if not found:
        return None
    return (
        f"The corrected share of {listed(found)} lies outside the interval of that label alone, though within the "
        "limits for all labels at once. The estimate fits all labels together, with shares that are never negative; "
        "the interval looks at one label. Quote the interval, not the share."
    )


def missing_validation(validation: Validation, classes: tuple[str, ...]) -> str | None:
    """Why no shares can be corrected by these faces, as a sentence; None where every class has some."""
    lacking = unseen(validation, classes)
    if not lacking:
        return None
    return (
        f"No shares are corrected for the classifier’s mistakes: the validation faces "
        f"({printable(validation.name, 120)}) show no {listed(lacking)}, so how that is mistaken is not known."
    )


def few_validation_faces(prevalence: Prevalence, classes: tuple[str, ...]) -> str | None:
    """A warning where a class has few validation faces."""
    few = [f"{printable(classes[k], 60)} ({int(n)})" for k, n in enumerate(prevalence.validation_counts) if n < FEW]
    if not few:
        return None
    return (
        f"Fewer than {FEW} validation faces show {listed(few)}. How these are mistaken is known roughly: their columns "
        "of the confusion matrix are smoothed (half a face more in each cell), and corrected shares are wide."
    )


def refutation(test: LabelShiftTest, classes: tuple[str, ...], counts: np.ndarray) -> str:
    """Why a refuted correction cannot be right, in a clause of its own."""
    if test.p_value >= ALARM:
        return "the corrected shares lie outside the limits for all labels at once, so no shares explain the labels"
    expected = test.expected_counts
    order = np.argsort(-np.abs(counts - expected) / np.sqrt(np.maximum(expected, 1)), kind="stable")[:3]
    wanted = listed([f"{expected[k]:.0f} {printable(classes[k], 40)}" for k in order])
    seen = listed([f"{int(counts[k])}" for k in order])
    return (
        "if the classifier erred on these faces as it does on the validation faces, the shares that fit best would "
        f"give about {wanted} labels, but {seen} were given"
    )


def label_shift_sentence(test: LabelShiftTest, classes: tuple[str, ...], counts: np.ndarray) -> str:
    """Sentence on what the fit test found, with the labels that are furthest from what the correction explains."""
    if test.verdict == "refuted":
        return f"These labels refute the correction: {refutation(test, classes, counts)}."
    if test.verdict == "holds":
        return (
            "The labels can come from faces that are mistaken as validation faces are; had mistakes been a fifth as "
            f"frequent, {percent(test.power, 0)} of such runs would have shown it."
        )
    return (
        f"These labels cannot tell whether the correction holds: {plural(int(counts.sum()), 'face')} with these labels "
        "would look the same under other mistakes."
    )
