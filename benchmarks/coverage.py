"""How often the intervals of the report hold the truth: ``python -m benchmarks.coverage`` prints a Markdown table.

The truth is known because the faces are simulated: the answers of `fernet` to FER2013 PublicTest (without the
faces that have copies in Training) are the whole population. For each simulated report, expressions are drawn by the
true shares, an answer to a face of that expression is drawn for each, and as many validation faces as there are of each
class are drawn too. So the confusion is the measured one and the assumption of the correction holds; where it does not
hold, no interval of a corrected share means what it says, and only the audit's still does. Counts are binomial, so raw
intervals need no simulation: their coverage is a sum.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

import fergan
import numpy as np
from fergan.data.labels import FER2013
from fergan.reports.statistics.correction.bayes import credible_limits, mixing, under_both_priors
from fergan.reports.statistics.correction.confusion import answers_by_class
from fergan.reports.statistics.correction.fit import ALARM, label_shift_test
from fergan.reports.statistics.correction.prevalence import Validation, estimate_prevalence
from fergan.reports.statistics.differences.comparison import compare_to_reference
from fergan.reports.statistics.differences.distance import corrected_distance
from fergan.reports.statistics.differences.references import reference
from fergan.reports.statistics.label_audit import prediction_powered, stratified_sample
from fergan.reports.statistics.shares import share_interval
from fergan.reports.statistics.table import LabelTable
from scipy.stats import binom

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
SLOW = 4  # of the bootstrap and the distances: one in so many of the simulated reports
RELIED_ON = 1.2  # a report warns of a posterior whose chains agree less
CHAINS = 24  # of a posterior, under each prior; a report has twice as many
BATCH = 20  # posteriors that are drawn together
COLUMNS = ("raw", "corrected", "fit", "Bayesian", "bootstrap", "distance", "audit")

Held = dict[str, list[np.ndarray]]


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


def raw_coverage(population: Population, truth: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Exact coverage [K] of the raw intervals: the label rates, and the true shares."""
    said = population.confusion @ truth  # what the classifier would say of endless faces
    counts = np.arange(n + 1)[:, None]
    chance = binom.pmf(counts, n, said)
    low, high = share_interval(counts, n)
    return {
        "raw, of what the classifier says": (chance * ((low <= said) & (said <= high))).sum(axis=0),
        "raw, of the truth": (chance * ((low <= truth) & (truth <= high))).sum(axis=0),
    }


class Reports:
    """Simulated reports of n faces, and which limits held: method -> bools [K] (or [1], for a distance) for each."""

    def __init__(self, population: Population, truth: np.ndarray, n: int, wanted: Collection[str]) -> None:
        self.population, self.truth, self.n, self.wanted = population, truth, n, wanted
        self.held: Held = {}
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def note(self, method: str, low: np.ndarray | float, high: np.ndarray | float, true: np.ndarray | float) -> None:
        tolerance = 1e-12
        self.held.setdefault(method, []).append(np.atleast_1d((low <= true + tolerance) & (true <= high + tolerance)))

    def add(self, number: int, rng: np.random.Generator) -> None:
        """Simulate a report."""
        population, truth, n = self.population, self.truth, self.n
        faces = population.draw(rng.multinomial(n, truth), rng)
        drawn = population.draw(np.array([len(m) for m in population.members]), rng)
        p = population.probabilities[faces]
        validation = Validation("simulated", population.labels[drawn], population.probabilities[drawn])
        counts = np.bincount(p.argmax(axis=1), minlength=K)
        confusion = answers_by_class(validation.probabilities, validation.labels)
        if "corrected" in self.wanted:
            corrected = estimate_prevalence(
                p, validation.labels, validation.probabilities, methods=("ACC", "PACC", "EM"), seed=number
            )
            for estimate in corrected.estimates:
                self.note(estimate.method, estimate.low, estimate.high, truth)
            joint = (corrected["ACC"].joint_low <= truth + 1e-12) & (truth <= corrected["ACC"].joint_high + 1e-12)
            self.held.setdefault("ACC, all labels at once", []).append(np.array([joint.all()]))
        if "fit" in self.wanted:
            fit = label_shift_test(counts, confusion, draws=199, seed=number)
            self.held.setdefault("fit test silent", []).append(np.array([fit.p_value >= ALARM]))
        if "Bayesian" in self.wanted:
            self.waiting.append((counts, confusion))
        if number % SLOW == 0:
            self.add_slow(p, validation, counts, number)
        if n > AUDIT and "audit" in self.wanted:
            table = LabelTable(FER2013, ("",) * n, None, p.argmax(axis=1), p.max(axis=1), p)
            design = stratified_sample(table, AUDIT, seed=number)
            audit = prediction_powered(table, design, population.labels[faces][design.rows])
            self.note(f"audit of {AUDIT}", audit.low, audit.high, truth)

    def add_slow(self, p: np.ndarray, validation: Validation, counts: np.ndarray, number: int) -> None:
        truth, said = self.truth, self.population.confusion @ self.truth
        if "bootstrap" in self.wanted:
            resampled = estimate_prevalence(
                p, validation.labels, validation.probabilities,
                methods=("ACC",), interval="bootstrap", replicates=400, seed=number,
            )["ACC"]  # fmt: skip
            self.note("ACC, bootstrap percentiles", resampled.low, resampled.high, truth)
        if "distance" in self.wanted:
            tv = corrected_distance((p, validation), AGAINST, seed=number)
            self.note("distance, ACC", tv.low, tv.high, np.abs(truth - AGAINST.shares).sum() / 2)
            raw = compare_to_reference(counts, FER2013, AGAINST, seed=number).total_variation
            self.note("distance, raw", raw.low, raw.high, np.abs(said - AGAINST.shares).sum() / 2)

    def draw_posteriors(self, rng: np.random.Generator) -> None:
        """Those of the reports that wait for one, many at once."""
        for start in range(0, len(self.waiting), BATCH):
            counts, confusions = (np.stack(each) for each in zip(*self.waiting[start : start + BATCH], strict=True))
            for both in zip(*under_both_priors(counts, confusions, rng, CHAINS), strict=True):
                self.note("Bayesian", *credible_limits(np.concatenate(both).reshape(-1, K)), self.truth)
                agree = max(map(mixing, both)) < RELIED_ON
                self.held.setdefault("chains agree", []).append(np.array([agree]))


def simulate(
    truth: np.ndarray, n: int, replicates: int, seed: int = 0, wanted: Collection[str] = COLUMNS
) -> dict[str, np.ndarray]:
    """Coverage [K] (or [1]) of each method."""
    population, rng = Population(), np.random.default_rng(seed)
    reports = Reports(population, truth, n, wanted)
    for number in range(replicates if {*wanted} - {"raw"} else 0):
        reports.add(number, rng)
    reports.draw_posteriors(rng)
    raw = raw_coverage(population, truth, n) if "raw" in wanted else {}
    return raw | {method: np.mean(held, axis=0) for method, held in reports.held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=400, help="simulated reports for each row")
    parser.add_argument("--scenario", choices=list(SCENARIOS), action="append", help="only these rows")
    parser.add_argument("--faces", type=int, choices=SIZES, action="append", help="only these rows")
    parser.add_argument("--column", choices=COLUMNS, action="append", help="only these columns")
    chosen = parser.parse_args()
    columns: list[str] = []
    for scenario in chosen.scenario or SCENARIOS:
        for n in chosen.faces or SIZES:
            wanted = chosen.column or COLUMNS
            held = simulate(SCENARIOS[scenario], n, chosen.replicates, wanted=wanted)
            if not columns:
                columns = list(held)
                if "audit" in wanted and f"audit of {AUDIT}" not in held:
                    columns.append(f"audit of {AUDIT}")
                print(f"| true shares | faces | {' | '.join(columns)} |")
                print(f"|---|---{'|---' * len(columns)}|")
            cells = [_cell(held[name]) if name in held else "–" for name in columns]
            print(f"| {scenario} | {n} | {' | '.join(cells)} |", flush=True)


def _cell(coverage: np.ndarray) -> str:
    """Mean coverage in per cent, and the lowest and highest of a single label."""
    each = 100 * coverage
    return f"{each.mean():.1f}" + (f" ({each.min():.0f}–{each.max():.0f})" if len(each) > 1 else "")


if __name__ == "__main__":
    main()
