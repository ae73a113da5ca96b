"""Everything that is said about one set of labels, computed once: the page, the JSON and the Markdown all tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..data.run_record.run import RunRecord
from ..runtime.errors import DataError
from .correction import Correction, correct, few_validation_faces, missing_validation
from .edited import Edited, read_edited
from .formatting import count, percent, plural, printable
from .further import Further, further
from .judges import JudgeLabels, Judges, judge_faces, judge_notes
from .selected import Selected, read_selected
from .statistics.correction.prevalence import Validation
from .statistics.differences.comparison import Comparison, compare_to_reference
from .statistics.differences.preparation import PreparationSensitivity
from .statistics.differences.references import NAMED_REFERENCES, Reference, as_labelled, reference
from .statistics.label_audit import AuditEstimate
from .statistics.shares import ConfidenceSummary, LabelShares, confidence_summary, label_shares
from .statistics.sweep import Sweep, sweep_of
from .statistics.table import LabelTable

_SEVERAL = 32  # faces from which one label for all of them is worth a remark


@dataclass(frozen=True)
class Findings:
    """The numbers of one report. What needs labelled faces is None without them."""

    table: LabelTable
    shares: LabelShares
    confidence: ConfidenceSummary
    sweep: Sweep | None
    edited: Edited | None
    """the same seeds at several strengths of a direction"""
    correction: Correction | None
    uncorrected: str | None
    """why validation faces could not be used, where there were some"""
    references: tuple[tuple[Reference, Comparison], ...]
    audit: AuditEstimate | None
    preparation: PreparationSensitivity | None
    further: Further | None
    selected: Selected | None
    """how the faces were selected; then nothing is corrected or compared with references"""
    judges: Judges | None
    failed: tuple[tuple[str, str], ...]
    """names of judges without a whole table, and why"""
    skipped: tuple[tuple[str, str], ...]
    """file names and reasons"""


def evaluate(
    table: LabelTable,
    *,
    validation: Validation | None = None,
    audit: AuditEstimate | None = None,
    preparation: PreparationSensitivity | None = None,
    skipped: pd.DataFrame | None = None,
    record: RunRecord | None = None,
    others: Sequence[JudgeLabels] = (),
    judge: str = "",
    failed: Mapping[str, str] | None = None,
) -> Findings:
    """All statistics of a table of labels.

    Args:
        validation: the same classifier's answers on labelled faces, to correct by.
        audit: what people said about a sample of the faces.
        preparation: how the labels depend on crop and filter.
        skipped: files that could not be judged, with the columns `face` and `reason`.
        record: of the run: how faces were selected or edited, if they were.
        others: what further judges said of the same faces.
        failed: why other judges of the run have no table, by their names.

    Raises:
        DataError: the judges cannot be compared, the validation faces do not fit, or the table of skipped files lacks a
            column.
    """
    shares, record = label_shares(table.codes, table.classes), record or RunRecord()
    selected = read_selected(record)
    correction = uncorrected = None
    if selected is not None:
        validation, uncorrected = None, selected.why_uncorrected
        others = [replace(other, validation=None) for other in others]
    if validation is not None:
        try:
            uncorrected = missing_validation(validation, table.classes)
            correction = None if uncorrected else correct(table, validation, preparation)
        except ValueError as error:
            name = printable(validation.name, 120)
            raise DataError(f"the validation faces '{name}' do not serve: {error}") from error
    return Findings(
        table=table,
        shares=shares,
        confidence=confidence_summary(table.confidence, table.probabilities),
        sweep=sweep_of(table),
        edited=read_edited(record, table),
        correction=correction,
        uncorrected=uncorrected,
        references=() if selected else _references(shares, validation if correction else None),
        audit=audit,
        preparation=preparation,
        further=None if validation is None or uncorrected else further(table, validation),
        selected=selected,
        judges=judge_faces([JudgeLabels(judge, table), *others], correction) if others else None,
        failed=tuple((failed or {}).items()),
        skipped=_skipped_rows(skipped),
    )


def _references(shares: LabelShares, validation: Validation | None) -> tuple[tuple[Reference, Comparison], ...]:
    found = []
    for name in NAMED_REFERENCES:
        try:
            against = reference(name, shares.classes)
        except DataError:  # FER2013 has seven labels; others are compared with equal shares only
            continue
        against = against if validation is None else as_labelled(against, validation)
        found.append((against, compare_to_reference(shares.counts, shares.classes, against)))
    return tuple(found)


def _skipped_rows(skipped: pd.DataFrame | None) -> tuple[tuple[str, str], ...]:
    if skipped is None or len(skipped) == 0:
        return ()
    missing = [column for column in ("face", "reason") if column not in skipped.columns]
    if missing:
        raise DataError(f"the table of skipped files has no column '{missing[0]}'")
    return tuple((str(face), str(reason)) for face, reason in zip(skipped["face"], skipped["reason"], strict=True))


def _repeated_seeds(findings: Findings) -> str | None:
    """A clause on seeds that stand for several faces, and in what."""
    pooled = "Every number outside the section on {} pools the faces of {} {}. The same seeds recur in them"
    if findings.sweep is not None:
        return pooled.format("truncation", len(findings.sweep.psi), "truncations")
    if findings.edited is not None:
        return pooled.format("strengths", len(findings.edited.parts), "strengths")
    seeds = findings.table.seeds
    return "Some seeds occur more than once" if seeds is not None and np.unique(seeds).size < len(seeds) else None


def quality_notes(findings: Findings, unreadable: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Notes that a reader should know before quoting a number; plain sentences, not escaped.

    Args:
        findings: the numbers.
        unreadable: names and reasons of pictures that could not be shown although the face was judged.
    """
    table = findings.table
    notes = [] if findings.uncorrected is None else [findings.uncorrected]
    few = None if findings.correction is None else few_validation_faces(findings.correction.prevalence, table.classes)
    if few is not None:
        notes.append(few)
    first = int(findings.shares.counts.argmax())
    given = table.confidence[table.codes == first]
    alike = len(table) >= _SEVERAL and len(given) > 0.95 * len(table) and np.median(given) > 0.99
    if alike and findings.selected is None:  # wanted faces have the label that was wanted
        notes.append(
            f"{percent(len(given) / len(table), 0)} of the faces got the label {printable(table.classes[first], 60)}, "
            "nearly all with certainty. Either these faces are alike, or the classifier was shown something else than "
            "it was made for: another input range, order of labels or crop."
        )
    notes += judge_notes(findings.judges, findings.failed)
    mismatched = int((table.probabilities.argmax(axis=1) != table.codes).sum())
    if mismatched:
        notes.append(
            f"{plural(mismatched, 'face')} carry a label that is not the class with the highest probability; "
            "the counts follow the label."
        )
    # names that are made one by one from the plan of a run are distinct by construction
    twice = len(table) - len(set(table.faces)) if isinstance(table.faces, tuple) else 0
    if twice:
        notes.append(f"{plural(twice, 'face name')} occur more than once; each row is counted.")
    repeated = _repeated_seeds(findings)
    if repeated is not None:
        notes.append(
            f"{repeated}, so these faces are not independent: intervals are too narrow, and the fit test refutes the "
            "correction too often."
        )
    missed = 0 if table.face_found is None else int((~table.face_found).sum())
    if missed:
        notes.append(
            f"No face was found in {plural(missed, 'picture')} of {count(len(table))}; these were judged whole and "
            "are counted. The column face_found of the labels tells which; --no-face skip leaves them out."
        )
    if unreadable:
        name, reason = unreadable[0]
        notes.append(
            f"{plural(len(unreadable), 'picture')} could not be shown although the face was judged; "
            f"the first is {printable(name, 120)} ({printable(reason, 200)})."
        )
    return notes
