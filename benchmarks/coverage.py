"""How often the intervals of the report hold the truth: ``python -m benchmarks.coverage`` prints a Markdown table.

The truth is known because the faces are simulated: the bundled classifier's answers to FER2013 PublicTest (without the
faces that have copies in Training) are the whole population. For each simulated report, expressions are drawn by the
true shares, an answer to a face of that expression is drawn for each, and as many validation faces as there are of each
class are drawn too. So the confusion is the measured one and the assumption of the correction holds; where it does not
hold, no interval of a corrected share means what it says, and only the audit's still does. 240 reports a row take about
11 minutes of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fergan
import numpy as np
from fergan.data.labels import FER2013
from fergan.reports.statistics.bayes import bayesian_shares
from fergan.reports.statistics.comparison import compare_to_reference
from fergan.reports.statistics.confusion import confusion_counts
from fergan.reports.statistics.distance import corrected_distance
from fergan.reports.statistics.fit import ALARM, label_shift_test
from fergan.reports.statistics.label_audit import prediction_powered, stratified_sample
from fergan.reports.statistics.prevalence import Validation, estimate_prevalence
from fergan.reports.statistics.references import reference
from fergan.reports.statistics.shares import label_shares
from fergan.reports.statistics.table import LabelTable

ANSWERS = Path(fergan.__file__).parent / "classify" / "weights" / "fernet.validation.npz"
K = len(FER2013)
AGAINST = reference("fer2013", FER2013)
SCENARIOS = {
    "as FER2013": AGAINST.shares,
    "equal": np.full(K, 1 / K),
    # angry, disgust, fear, happy, sad, surprise, neutral
    "happy and neutral": np.array([0.005, 0.005, 0.01, 0.60, 0.03, 0.02, 0.33]),
    "four are absent": np.array([0, 0, 0, 0.60, 0.05, 0, 0.35]),
}
SIZES = (30, 100, 500, 50_000)
AUDIT = 200
SLOW = 4  # a method that draws its own random numbers gets one in so many of the simulated reports
RELIED_ON = 1.2  # a report warns of a posterior whose chains agree less


class Population:
    """The classifier's answers to labelled faces, as the whole from which faces are drawn."""

    def __init__(self) -> None:
        with np.load(ANSWERS, allow_pickle=False) as stored:
            kept = ~stored["leaks"]
            self.labels = stored["labels"][kept].astype(np.int64)
            self.probabilities = stored["probabilities"][kept].astype(np.float64)
        self.members = [np.flatnonzero(self.labels == k) for k in range(K)]
        answers = self.probabilities.argmax(axis=1)
        self.confusion = np.stack([np.bincount(answers[m], minlength=K) / len(m) for m in self.members], axis=1)

    def draw(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows with so many faces of each class, drawn with replacement."""
        return np.concatenate([rng.choice(m, size) for m, size in zip(self.members, counts, strict=True)])


def simulate(truth: np.ndarray, n: int, replicates: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Which limits held: method -> bools [K] (or [1], for a distance) for each simulated report."""
    population, rng = Population(), np.random.default_rng(seed)
    said = population.confusion @ truth  # what the classifier would say of endless faces
    held: dict[str, list[np.ndarray]] = {}

    def note(method: str, low: np.ndarray | float, high: np.ndarray | float, true: np.ndarray | float) -> None:
        tolerance = 1e-12
        held.setdefault(method, []).append(np.atleast_1d((low <= true + tolerance) & (true <= high + tolerance)))

    for number in range(replicates):
        faces = population.draw(rng.multinomial(n, truth), rng)
        drawn = population.draw(np.array([len(m) for m in population.members]), rng)
        expressions, p = population.labels[faces], population.probabilities[faces]
        validation = Validation("simulated", population.labels[drawn], population.probabilities[drawn])
        shares = label_shares(p.argmax(axis=1), FER2013)
        note("raw, of what the classifier says", shares.low, shares.high, said)
        note("raw, of the truth", shares.low, shares.high, truth)
        corrected = estimate_prevalence(
            p, validation.labels, validation.probabilities, methods=("ACC", "PACC", "EM"), seed=number
        )
        for estimate in corrected.estimates:
            note(estimate.method, estimate.low, estimate.high, truth)
        joint = (corrected["ACC"].joint_low <= truth + 1e-12) & (truth <= corrected["ACC"].joint_high + 1e-12)
        held.setdefault("ACC, all labels at once", []).append(np.array([joint.all()]))
        confusion = confusion_counts(validation.probabilities, validation.labels)
        fit = label_shift_test(shares.counts, confusion, draws=199, seed=number)
        held.setdefault("fit test silent", []).append(np.array([fit.p_value >= ALARM]))
        if number % SLOW == 0:
            posterior = bayesian_shares(shares.counts, confusion, seed=number)
            note("Bayesian", posterior.low, posterior.high, truth)
            held.setdefault("chains agree", []).append(np.array([posterior.mixing < RELIED_ON]))
            resampled = estimate_prevalence(
                p, validation.labels, validation.probabilities,
                methods=("ACC",), interval="bootstrap", replicates=400, seed=number,
            )["ACC"]  # fmt: skip
            note("ACC, bootstrap percentiles", resampled.low, resampled.high, truth)
            tv = corrected_distance((p, validation), AGAINST, seed=number)
            note("distance, ACC", tv.low, tv.high, np.abs(truth - AGAINST.shares).sum() / 2)
            raw = compare_to_reference(shares.counts, FER2013, AGAINST, seed=number).total_variation
            note("distance, raw", raw.low, raw.high, np.abs(said - AGAINST.shares).sum() / 2)
        if n > AUDIT:
            table = LabelTable(FER2013, ("",) * n, None, p.argmax(axis=1), p.max(axis=1), p)
            design = stratified_sample(table, AUDIT, seed=number)
            audit = prediction_powered(table, design, expressions[design.rows])
            note(f"audit of {AUDIT}", audit.low, audit.high, truth)
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=240, help="simulated reports for each row")
    parser.add_argument("--scenario", choices=list(SCENARIOS), action="append", help="only these rows")
    chosen = parser.parse_args()
    columns: list[str] = []
    for scenario in chosen.scenario or SCENARIOS:
        for n in SIZES:
            held = simulate(SCENARIOS[scenario], n, chosen.replicates)
            if not columns:
                columns = [*held, *([] if f"audit of {AUDIT}" in held else [f"audit of {AUDIT}"])]
                print(f"| true shares | faces | {' | '.join(columns)} |")
                print(f"|---|---{'|---' * len(columns)}|")
            cells = [_cell(np.stack(held[name])) if name in held else "–" for name in columns]
            print(f"| {scenario} | {n} | {' | '.join(cells)} |", flush=True)


def _cell(held: np.ndarray) -> str:
    """Mean coverage in per cent, and the lowest and highest of a single label."""
    each = 100 * held.mean(axis=0)
    return f"{each.mean():.1f}" + (f" ({each.min():.0f}–{each.max():.0f})" if len(each) > 1 else "")


if __name__ == "__main__":
    main()
