"""Estimators of expression shares beside those of other packages: ``python -m benchmarks.quantifiers``.

Worlds are simulated from the answers of `fernet` to FER2013 PublicTest, so the truth is known. The rivals are
QuaPy (bootstrap, BayesianCC, KDEy), CLEAM (Teo, Abdollahzadeh & Cheung, NeurIPS 2023; written here after the paper and
its code) and ppi-python; one that is not installed is skipped with a line that says so. Coverage and width are means
over the labels, time is that of one processor core. (BayesianCC of QuaPy 0.2.3 runs with numpyro 0.21.0 and jax 0.10.2,
not with numpyro 0.22.0.)
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from fergan.benchmarks.coverage import FER2013, SCENARIOS, K, Population
from fergan.reports.statistics.correction.bayes import bayesian_shares
from fergan.reports.statistics.correction.confusion import answers_by_class
from fergan.reports.statistics.correction.prevalence import confusion_matrix, estimate_prevalence, hard_outputs
from fergan.reports.statistics.label_audit import prediction_powered, stratified_sample
from fergan.reports.statistics.table import LabelTable

Limits = tuple[np.ndarray, np.ndarray, np.ndarray]  # shares, low, high, each [K]
ANSWERS = 200
Z = NormalDist().inv_cdf(0.975)


class World:
    """One simulated report: faces with their true expressions, and validation faces, as the classifier answers them."""

    def __init__(self, population: Population, kind: str, n: int, rng: np.random.Generator) -> None:
        self.truth = SCENARIOS["four are absent" if kind == "absent classes" else "happy and neutral"]
        faces = population.draw(rng.multinomial(n, self.truth), rng)
        drawn = population.draw(np.array([len(m) for m in population.members]), rng)
        self.y, self.p = population.labels[faces], population.probabilities[faces]
        self.labels, self.v = population.labels[drawn], population.probabilities[drawn]
        if kind == "confidence shift":  # the same labels, softer probabilities
            self.p = self.p ** (1 / 1.5)
        if kind == "confusion shift":  # two thirds of the mistakes do not happen on these faces
            wrong = (self.p.argmax(axis=1) != self.y) & (rng.random(n) < 2 / 3)
            rows, top = np.flatnonzero(wrong), self.p.argmax(axis=1)[wrong]
            right = self.y[wrong]
            self.p[rows, right], self.p[rows, top] = self.p[rows, top], self.p[rows, right]
        self.p = self.p / self.p.sum(axis=1, keepdims=True)


def classical(method: str) -> Callable[[World, int], Limits]:
    def run(world: World, seed: int) -> Limits:
        found = estimate_prevalence(world.p, world.labels, world.v, methods=(method,), seed=seed)[method]
        return found.shares, found.low, found.high

    return run


def bayesian(world: World, seed: int) -> Limits:
    counts = np.bincount(world.p.argmax(axis=1), minlength=K)
    found = bayesian_shares(counts, answers_by_class(world.v, world.labels), seed=seed)
    return found.shares, found.low, found.high


def audit(world: World, seed: int) -> Limits:
    n, p = len(world.p), world.p
    table = LabelTable(FER2013, ("",) * n, None, p.argmax(axis=1), p.max(axis=1), p)
    design = stratified_sample(table, ANSWERS, seed, "neyman")
    found = prediction_powered(table, design, world.y[design.rows])
    return found.shares, found.low, found.high


def cleam(world: World, seed: int, batches: int = 30) -> Limits:
    """CLEAM: the mean label rates of `batches` batches and their normal interval, each put through the known confusion.

    For two attributes with accuracies a0 and a1 the estimate is (mean - (1 - a1)) / (a0 - (1 - a1)), and the limits are
    mean +- 1.96 sd / sqrt(batches), sd with the divisor `batches`, put through the same line; that the accuracies are
    estimated is not in them. So say the paper, section 4, and the authors' code (github.com/Bearwithchris/CLEAM_code,
    PseudoGAN/src/CLEAM.py at c57df08). For K labels the line is M^-1 q. The authors draw 30 batches of hundreds of
    faces anew; here the batches share out the faces that all methods get. Limits are cut to 0..1.
    """
    order = np.random.default_rng(seed).permutation(len(world.p))
    outputs = hard_outputs(world.p)[order]
    inverse = np.linalg.inv(confusion_matrix(hard_outputs(world.v), world.labels))
    each = np.stack([part.mean(axis=0) for part in np.array_split(outputs, batches)])
    means, half = each.mean(axis=0) @ inverse.T, Z * (each @ inverse.T).std(axis=0) / np.sqrt(batches)
    return means, np.clip(means - half, 0, 1), np.clip(means + half, 0, 1)


def quapy_methods() -> dict[str, Callable[[World, int], Limits]]:
    import quapy as qp
    from quapy.method import aggregative
    from quapy.method.confidence import AggregativeBootstrap, BayesianCC
    from sklearn.base import BaseEstimator, ClassifierMixin

    qp.environ["SAMPLE_SIZE"] = 500
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # its bootstrap would start a process for each core

    class Ready(ClassifierMixin, BaseEstimator):
        """A classifier whose inputs are its answers already."""

        classes_ = np.arange(K)

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, x: np.ndarray, y: np.ndarray) -> Ready:
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x)

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x).argmax(axis=1)

    def with_limits(make: Callable[[int], object]) -> Callable[[World, int], Limits]:
        def run(world: World, seed: int) -> Limits:
            quantifier = make(seed)
            hard = isinstance(quantifier, BayesianCC)
            quantifier.aggregation_fit(world.v.argmax(axis=1) if hard else world.v, world.labels)
            given = world.p.argmax(axis=1) if hard else world.p
            if hasattr(quantifier, "predict_conf"):
                shares, region = quantifier.aggregate_conf(given) if hasattr(quantifier, "aggregate_conf") else (
                    quantifier.predict_conf(world.p)
                )  # fmt: skip
                limits = np.array(region.I_low), np.array(region.I_high)
            else:
                shares = quantifier.aggregate(given)
                limits = np.full(K, np.nan), np.full(K, np.nan)
            return np.asarray(shares), *limits

        return run

    return {
        "QuaPy PACC, bootstrap": with_limits(
            lambda seed: AggregativeBootstrap(aggregative.PACC(Ready(), fit_classifier=False), random_state=seed)
        ),
        "QuaPy BayesianCC": with_limits(lambda seed: BayesianCC(Ready(), fit_classifier=False, mcmc_seed=seed)),
        "QuaPy KDEy": with_limits(lambda seed: aggregative.KDEyML(Ready(), fit_classifier=False, random_state=seed)),
    }


def ppi_methods() -> dict[str, Callable[[World, int], Limits]]:
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    def run(world: World, seed: int) -> Limits:
        rows = np.random.default_rng(seed).choice(len(world.p), ANSWERS, replace=False)
        rest = np.delete(world.p, rows, axis=0)
        truth = np.eye(K)[world.y[rows]]
        shares = ppi_mean_pointestimate(truth, world.p[rows], rest)
        low, high = ppi_mean_ci(truth, world.p[rows], rest, alpha=0.05)
        return shares, np.clip(low, 0, 1), np.clip(high, 0, 1)

    return {f"ppi-python, {ANSWERS} answers": run}


def methods() -> dict[str, Callable[[World, int], Limits]]:
    found: dict[str, Callable[[World, int], Limits]] = {name: classical(name) for name in ("ACC", "PACC", "EM")}
    found |= {"Bayesian": bayesian, f"audit, {ANSWERS} answers": audit, "CLEAM": cleam}
    for name, rivals in (("quapy", quapy_methods), ("ppi-python", ppi_methods)):
        try:
            found |= rivals()
        except ImportError as error:
            print(f"skipped: {name} is not installed ({error})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=100, help="simulated reports for each world")
    parser.add_argument("--slow", type=int, default=10, help="of those, for methods that take over half a second")
    parser.add_argument("--only", action="append", help="only methods whose name has this in it; may be given again")
    parser.add_argument("--n", type=int, default=500, help="faces")
    chosen = parser.parse_args()
    worlds = ("label shift", "confidence shift", "confusion shift", "absent classes")
    population, rows = Population(), {}
    for name, method in methods().items():
        if chosen.only and not any(word in name for word in chosen.only):
            continue
        cells, spent = [], []
        for kind in worlds:
            held, widths, errors = [], [], []
            for seed in range(chosen.replicates):
                if seed >= chosen.slow and np.mean(spent) > 0.5:
                    break
                world = World(population, kind, chosen.n, np.random.default_rng(seed))
                start = time.process_time()
                try:
                    shares, low, high = method(world, seed)
                except (ImportError, AttributeError, TypeError, AssertionError, NotImplementedError) as error:
                    print(f"skipped: {name} ({type(error).__name__}: {str(error).splitlines()[0][:100]})", flush=True)
                    break
                spent.append(time.process_time() - start)
                held.append((low <= world.truth + 1e-12) & (world.truth <= high + 1e-12))
                widths.append((high - low).mean())
                errors.append(np.abs(shares - world.truth).sum() / 2)
            if not held:
                break
            none = bool(np.isnan(widths).any())
            limits = "no limits" if none else f"{100 * np.mean(held):.0f} %, ±{50 * np.mean(widths):.1f}"
            cells.append(f"{limits}, off {100 * np.mean(errors):.1f}")
        if len(cells) == len(worlds):
            rows[name] = f"| {name} | {' | '.join(cells)} | {np.mean(spent):.2g} s |"
            print(rows[name], flush=True)
    print(f"\n| {chosen.n} faces | {' | '.join(worlds)} | time |\n|---{'|---' * (len(worlds) + 1)}|")
    print("\n".join(rows.values()))


if __name__ == "__main__":
    main()
