"""Learning a direction in W from a judge: which step makes faces look more surprised to it, whoever they are.

InterFaceGAN (Shen et al. 2020, arXiv:2005.09635) fits a hyperplane to faces and their labels and takes its normal.
Here faces come in pairs, a style moved by a random step and by its opposite, and a ridge regression explains the
difference of the judge's log-odds by the step, in whitened W: what differs from face to face then cancels out. A first
quarter of the pairs lies about the faces as they are. The others are spread along the direction found by these, and
tell which step is right on the way, where it matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write_png
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from ...stylegan.directions import Direction, save_direction
from ...stylegan.generator import Generator, default_psi, load_generator
from ...stylegan.metrics import precision_recall
from ..progress import OnProgress, no_progress

REACH = 3.0
"""The strengths that are learnt: 0 to 3."""
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Those that are measured and drawn."""
RISING = (0.0, 1.0, 2.0)
"""Those over which the wanted probability should rise."""
_STEP = 0.7  # standard deviations of a random step
_RIDGE = 0.05
_TESTED = 96  # seeds on which the direction is measured, which it was not learnt from
_STRIP = 8
_BLOCK = 256


@dataclass(frozen=True)
class DirectionOptions:
    """What to learn.

    Attributes:
        toward: the label whose probability the direction raises.
        keep: labels whose probabilities it should leave alone.
        network: as for ``generate``.
        judge: a classifier's file or name; None for fernet.
        n: faces to draw and judge, at least 400.
        truncation_psi: None for the generator's own default.
        class_index: for conditional generators.
        seed: of the random steps.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    toward: str
    keep: Sequence[str] = ()
    network: str | None = None
    judge: str | None = None
    n: int = 4000
    truncation_psi: float | None = None
    class_index: int | str | None = None
    seed: int = 0
    device: str = "auto"


def learn_direction(options: DirectionOptions, out: str | Path, on_progress: OnProgress = no_progress) -> Direction:
    """Learn a direction, measure it on other seeds, and write it with a strip of faces beside it.

    Args:
        options: see :class:`DirectionOptions`.
        out: the ``.npz``; ``NAME.png`` beside it shows eight faces at seven strengths.
        on_progress: called with faces.

    Returns:
        The direction; ``about["measured"]`` has what it does at each strength.

    Raises:
        DataError: a network cannot be read or a file cannot be written.
        UsageError: the judge does not know a label, or the label is both wanted and kept.
    """
    path = Path(out)
    if path.suffix.lower() != ".npz":
        raise UsageError(f"--out {printable(out)}: a direction is an .npz file; give a name that ends so")
    if not path.parent.is_dir():
        raise DataError(f"{printable(path)}: its folder does not exist; make the folder first")
    learner = _Learner(options, on_progress)
    vector, fit = learner.learn()
    measured, strip = learner.measure(vector)
    about = {
        "method": "ridge regression of log-odds on paired steps in whitened W, after InterFaceGAN (arXiv:2005.09635)",
        "space": "w" if learner.generator.num_ws > 1 else "z",
        "n": options.n,
        "kept": list(options.keep),
        "truncation_psi": learner.psi,
        **fit,
        "measured": measured,
    }
    classifier, generator = learner.classifier, learner.generator
    direction = Direction(
        vector,
        options.toward,
        generator.name,
        generator.sha256,
        classifier.name,
        classifier.sha256,
        (0.0, REACH),
        about,
        path.name,
    )
    write_png(path.with_suffix(".png"), strip)
    save_direction(path, direction)
    return direction


class _Learner:
    """A generator and a judge, and the space of styles between them."""

    def __init__(self, options: DirectionOptions, on_progress: OnProgress) -> None:
        from ...classify.classifier import load_classifier

        self.options, self._progress, self._done = options, on_progress, 0
        self.generator: Generator = load_generator(options.network, device=options.device)
        self.classifier = load_classifier(options.judge, device=options.device)
        self._preparation = self.classifier.preparation()
        self._labels = self.classifier.labels
        for label in (options.toward, *options.keep):
            if label not in self._labels:
                raise UsageError(
                    f"{printable(label)}: the judge {self.classifier.name} does not know this label, only "
                    f"{', '.join(self._labels)}"
                )
        if options.toward in options.keep:
            raise UsageError(f"--keep {options.toward}: is the label that --toward raises")
        self.psi = default_psi(self.generator, options.truncation_psi)
        self._rng = np.random.default_rng(options.seed)
        self._pairs = options.n // 2
        self._total = 2 * self._pairs + len(STRENGTHS) * _TESTED + _TESTED
        self._styles = self._of(range(self._pairs))
        self._spread = _spread(self._styles[:, 0])

    def _of(self, seeds: Sequence[int]) -> np.ndarray:
        return self.generator.styles(seeds, self.psi, class_index=self.options.class_index)

    def learn(self) -> tuple[np.ndarray, dict[str, Any]]:
        """The vector, float32 [w_dim], and how well steps explain log-odds."""
        quarter = self._pairs // 4
        nowhere = np.zeros(self._spread.shape[1])
        early = self._fit(*self._steps(slice(0, quarter), np.zeros(quarter), nowhere))[0]
        shifts = self._rng.uniform(0, REACH, self._pairs - quarter)
        unit, explained = self._fit(*self._steps(slice(quarter, None), shifts, early))
        return (self._spread @ unit).astype(np.float32), {"explained": explained}

    def _steps(self, rows: slice, shifts: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps [P, R] in whitened W and the differences [P, K] of log-odds that they make, from shifted styles."""
        steps = self._rng.standard_normal((len(shifts), len(along))) * _STEP
        there = self._styles[rows] + ((shifts[:, None] * along) @ self._spread.T)[:, None]
        moved = (steps @ self._spread.T)[:, None]
        return 2 * steps, _log_odds(self._judge(there + moved)) - _log_odds(self._judge(there - moved))

    def _fit(self, steps: np.ndarray, odds: np.ndarray) -> tuple[np.ndarray, float]:
        """The unit direction in whitened W, orthogonal to those of the labels to keep, and the R² of its regression."""
        wanted = [self._labels.index(label) for label in (self.options.toward, *self.options.keep)]
        gram = steps.T @ steps
        ridge = _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        slopes = np.linalg.solve(gram + ridge, steps.T @ odds[:, wanted])
        missed = odds[:, wanted[0]] - steps @ slopes[:, 0]
        unit = slopes[:, 0]
        if len(wanted) > 1:
            kept = np.linalg.qr(slopes[:, 1:])[0]
            unit = unit - kept @ (kept.T @ unit)
        length = float(np.linalg.norm(unit))
        if not length > 1e-9:
            raise DataError(f"nothing in the styles of {self.generator.name} moves the label {self.options.toward}")
        return unit / length, float(1 - (missed**2).sum() / (odds[:, wanted[0]] ** 2).sum())

    def measure(self, vector: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """What the direction does to seeds that it was not learnt from, and a strip of the first ones."""
        start = self._pairs
        styles, label = self._of(range(start, start + _TESTED)), self._labels.index(self.options.toward)
        others = list(self._draw(self._of(range(start + _TESTED, start + 2 * _TESTED))))
        at = {strength: list(self._draw(styles + np.float32(strength) * vector)) for strength in STRENGTHS}
        answers = {strength: self._predict(pictures) for strength, pictures in at.items()}
        rising = np.stack([answers[strength][:, label] for strength in RISING])
        own = self._features(others)
        between = _distance(others[:-1], others[1:])
        rows = [
            {
                "strength": strength,
                "probability": float(answers[strength][:, label].mean()),
                "shares": {
                    name: float((answers[strength].argmax(axis=1) == k).mean()) for k, name in enumerate(self._labels)
                },
                "moved": _distance(at[0.0], pictures) / between,
                "precision": precision_recall(own, self._features(pictures))[0],
            }
            for strength, pictures in at.items()
        ]
        strip = np.concatenate(
            [np.concatenate([at[strength][row] for strength in STRENGTHS], axis=1) for row in range(_STRIP)]
        )
        rises = float((np.diff(rising, axis=0) > 0).all(axis=0).mean())
        return {"seeds": _TESTED, "rising": rises, "rising_over": list(RISING), "strengths": rows}, strip

    def _draw(self, styles: np.ndarray) -> Iterator[np.ndarray]:
        for picture in self.generator.draw(styles):
            self._done += 1
            self._progress(self._done, self._total)
            yield picture

    def _judge(self, styles: np.ndarray) -> np.ndarray:
        pictures = self._draw(styles)
        blocks = iter(lambda: list(islice(pictures, _BLOCK)), [])
        return np.concatenate([self._predict(block) for block in blocks])

    def _predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        return self.classifier.predict(self._preparation.prepare(pictures))

    def _features(self, pictures: list[np.ndarray]) -> np.ndarray:
        return self.classifier.features(self._preparation.prepare(pictures))


def _spread(w: np.ndarray) -> np.ndarray:
    """[w_dim, R]: steps of one standard deviation in whitened W, in the directions in which styles differ at all."""
    values, vectors = np.linalg.eigh(np.cov(w.astype(np.float64).T))
    real = values > 1e-9 * values.max()
    return np.asarray(vectors[:, real] * np.sqrt(values[real]))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(p) - np.log1p(-p)


def _distance(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """The mean root mean square difference of pictures, pair by pair."""
    pairs = zip(some, others, strict=True)
    return float(np.mean([np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)) for a, b in pairs]))
