"""Three or four sentences that a reader can quote, each with the caveat that belongs to it."""

from dataclasses import dataclass

from .correction import Correction, refutation
from .findings import Findings
from .formatting import NBSP, count, listed, percent, percent_range, plural, printable
from .judges import judges_sentence
from .statistics.shares import LabelShares

SMALL_SAMPLE = 100


@dataclass(frozen=True)
class Conclusion:
    """A heading of a few words and one or two sentences of plain text (not escaped)."""

    heading: str
    sentence: str


def conclude(findings: Findings) -> tuple[Conclusion, ...]:
    """Conclude what was counted, what it says of expressions, how sure the classifier was, and what a judge changes."""
    judges = findings.judges
    among = () if judges is None else (Conclusion("What depends on the judge", judges_sentence(judges)),)
    if findings.selected is not None:
        return (
            Conclusion("What was selected", findings.selected.sentence),
            Conclusion("What the labels can bear", findings.selected.check),
            Conclusion("How sure the classifier was", _uncertain(findings)),
            *among,
        )
    return (
        Conclusion("What was counted", _counted(findings.shares)),
        Conclusion("What this says of expressions", _bearing(findings)),
        Conclusion("How sure the classifier was", _uncertain(findings)),
        *among,
    )


def _counted(shares: LabelShares) -> str:
    order = shares.ranking()
    first = order[0]
    name = printable(shares.classes[first], 60)
    if shares.n == 1:
        return f"The only face was labelled {name}; one face says nothing about the generator."
    level = f"{100 * shares.level:g}{NBSP}%"
    span = percent_range(shares.low[first], shares.high[first])
    head = (
        f"The classifier labelled {count(int(shares.counts[first]))} of {plural(shares.n, 'face')} {name}: "
        f"{percent(shares.shares[first])} ({level} interval {span})"
    )
    if len(order) > 1 and shares.counts[order[1]]:
        second = order[1]
        head += f"; next comes {printable(shares.classes[second], 60)} with {percent(shares.shares[second])}"
    never = [printable(shares.classes[k], 60) for k in range(len(order)) if not shares.counts[k]]
    if never:
        if len(never) < 4:
            head += f", and no face was labelled {listed(never, 'or')}"
        else:
            some = f"{', '.join(never[:6])}, …" if len(never) > 6 else listed(never)
            head += f", and {plural(len(never), 'label')} ({some}) were never given"
    if shares.n < SMALL_SAMPLE:
        head += f" (a small sample: with {plural(shares.n, 'face')} the intervals are wide)"
    return head + "."


def _bearing(findings: Findings) -> str:
    shares, correction, audit = findings.shares, findings.correction, findings.audit
    first = shares.ranking()[0]
    name = printable(shares.classes[first], 60)
    raw = "Raw counts carry the classifier’s mistakes. "
    if audit is not None:
        text = (
            f"{raw}People who labelled {plural(audit.answered, 'face')} of these agree with it on about "
            f"{percent(audit.agreement, 0)}; by their answers {name} is {percent(audit.shares[first])} "
            f"({percent_range(audit.low[first], audit.high[first])})."
        )
        if correction is not None and not correction.refuted:
            acc = correction.prevalence["ACC"]
            text += f" Corrected for its known mistakes alone it would be {percent(acc.shares[first])}."
    elif correction is not None and correction.refuted:
        text = (
            "How often each expression truly occurs is not known. The counts carry the classifier’s mistakes, and they "
            f"refute a correction by those it makes on {_validated(correction)}, the validation faces: "
            f"{refutation(correction.label_shift, shares.classes, shares.counts)}. People can tell (fergan audit "
            "labels)."
        )
    elif correction is not None:
        acc = correction.prevalence["ACC"]
        checked = {
            "holds": ", which these labels do not speak against",
            "cannot tell": ", which these labels cannot tell",
        }[correction.label_shift.verdict]
        beside = ", an interval that does not contain it" if first in acc.beside else ""
        text = (
            f"{raw}Corrected for those it makes on {_validated(correction)}, {name} is {percent(acc.shares[first])} "
            f"({percent_range(acc.low[first], acc.high[first])}{beside}), if it errs here as it does there{checked}"
            f"{_depth(findings)}."
        )
    else:
        reason = findings.uncorrected
        why = ", and there are no labelled faces to correct by." if reason is None else f". {reason}"
        text = f"{raw}The intervals cover the luck of the draw, not those mistakes{why}"
    if findings.sweep is not None:
        text += (
            f" The same seeds at {len(findings.sweep.psi)} truncations are pooled here, which makes the intervals too "
            "narrow; the truncation sweep has them apart."
        )
    if findings.edited is not None:
        text += (
            f" The same seeds at {len(findings.edited.parts)} strengths are pooled here, which makes the intervals too "
            f"narrow. {findings.edited.sentence}"
        )
    return text


def _validated(correction: Correction) -> str:
    return plural(int(correction.prevalence.validation_counts.sum()), "labelled face")


def _depth(findings: Findings) -> str:
    """Whether the condition of the correction is in doubt."""
    if findings.correction is None or findings.shares.n == 1:
        return ""
    return {
        "as expected": "; it is about as sure here as there",
        "less sure": "; but it is less sure here than there, so it may not",
        "surer": "; but it is surer here than there, which does not make it right",
    }[findings.correction.depth.verdict]


def _uncertain(findings: Findings) -> str:
    n, confidence, skipped = findings.shares.n, findings.confidence, len(findings.skipped)
    bar = percent(confidence.threshold, 0)
    if n == 1:
        head = f"It claims {percent(confidence.mean, 0)} confidence"
    elif confidence.uncertain:
        who = f"{plural(confidence.uncertain, 'face')} ({percent(confidence.uncertain / n)}) reached"
        head = f"It claims {percent(confidence.mean, 0)} confidence on average; {who} less than {bar} for every label"
    else:
        head = f"It claims {percent(confidence.mean, 0)} confidence on average; every face reached {bar} for its label"
    moved = findings.preparation
    if moved is not None and len(moved.variants) > 1:
        head += f"; another crop or filter changes the label of up to {percent(moved.largest, 0)} of the faces"
    missed = 0 if findings.table.face_found is None else int((~findings.table.face_found).sum())
    if missed:
        head += f"; no face was found in {plural(missed, 'picture')}, judged whole"
    if not skipped:
        return head + "; no file was skipped."
    verb = "is" if skipped == 1 else "are"
    return f"{head}; {plural(skipped, 'file')} could not be judged and {verb} not in these counts."
