"""Three sentences that a reader can quote, each with the caveat that belongs to it."""

from dataclasses import dataclass

from .formatting import NBSP, count, listed, percent, percent_range, plural, printable
from .prevalence import Prevalence
from .statistics import ConfidenceSummary, LabelShares

SMALL_SAMPLE = 100


@dataclass(frozen=True)
class Conclusion:
    """A heading of one or two words and one sentence of plain text (not escaped)."""

    heading: str
    sentence: str


def conclude(
    shares: LabelShares,
    confidence: ConfidenceSummary,
    skipped: int,
    corrected: Prevalence | None = None,
    truncations: int = 1,
) -> tuple[Conclusion, ...]:
    """What was counted, what the counts can bear, and what remains uncertain.

    Args:
        shares: the raw label shares.
        confidence: of the same faces.
        skipped: how many files could not be judged.
        corrected: estimates that include ACC, when there are labelled faces to correct by.
        truncations: how many psi are pooled in the counts, with the same seeds in each.
    """
    pooled = (
        ""
        if truncations < 2
        else (
            f" The same seeds at {truncations} truncations are pooled here, which makes the intervals too narrow; "
            "the truncation sweep has them apart."
        )
    )
    return (
        Conclusion("What was counted", _counted(shares)),
        Conclusion("How far to trust it", _trust(shares, corrected) + pooled),
        Conclusion("What is uncertain", _uncertain(shares.n, confidence, skipped)),
    )


def _counted(shares: LabelShares) -> str:
    order = shares.ranking()
    first = order[0]
    name = printable(shares.classes[first], 60)
    level = f"{100 * shares.level:g}{NBSP}%"
    span = percent_range(shares.low[first], shares.high[first])
    if shares.n == 1:
        return f"The only face was labelled {name}; one face says nothing about the generator."
    head = (
        f"Of {plural(shares.n, 'face')}, {count(int(shares.counts[first]))} were labelled {name}: "
        f"{percent(shares.shares[first])}, with a {level} interval of {span}"
    )
    if len(order) > 1 and shares.counts[order[1]]:
        second = order[1]
        head += f"; next comes {printable(shares.classes[second], 60)} with {percent(shares.shares[second])}"
    never = [printable(shares.classes[k], 60) for k in range(len(order)) if not shares.counts[k]]
    if never:
        if len(never) < 4:
            head += f", and no face was labelled {' or '.join(never)}"
        else:
            some = f"{', '.join(never[:6])}, …" if len(never) > 6 else listed(never)
            head += f", and {plural(len(never), 'label')} ({some}) were never given"
    if shares.n < SMALL_SAMPLE:
        head += f" (a small sample: with {plural(shares.n, 'face')} the intervals are wide)"
    return head + "."


def _trust(shares: LabelShares, corrected: Prevalence | None) -> str:
    biased = (
        "These are raw counts of what a classifier said, and because it mistakes some expressions for others they are "
        "a biased estimate of what the faces show; "
    )
    if corrected is None:
        return biased + "the intervals cover the luck of the draw, not those mistakes."
    first = shares.ranking()[0]
    acc = corrected["ACC"]
    validated = plural(int(corrected.validation_counts.sum()), "labelled face")
    return (
        f"{biased}corrected for the mistakes it makes on {validated}, "
        f"{printable(shares.classes[first], 60)} is {percent(acc.shares[first])} "
        f"({percent_range(acc.low[first], acc.high[first])}), if it errs here as it does there."
    )


def _uncertain(n: int, confidence: ConfidenceSummary, skipped: int) -> str:
    bar = percent(confidence.threshold, 0)
    if n == 1:
        head = f"The classifier's confidence was {percent(confidence.mean, 0)}"
    else:
        if confidence.uncertain:
            who = f"{plural(confidence.uncertain, 'face')} ({percent(confidence.uncertain / n)}) reached"
            head = f"The mean confidence is {percent(confidence.mean, 0)}, and {who} less than {bar} for every label"
        else:
            head = f"The mean confidence is {percent(confidence.mean, 0)}, and every face reached {bar} for its label"
    if not skipped:
        return head + "; no file was skipped."
    verb = "is" if skipped == 1 else "are"
    return f"{head}; {plural(skipped, 'file')} could not be read and {verb} not in these counts."
