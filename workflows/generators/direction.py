"""Learning a direction from a judge: which step in the space of styles makes any face look more surprised to it.

The method is that of GANalyze (Goetschalckx et al. 2019, arXiv:1906.10112): generator and judge are one differentiable
function, and one step that all faces share is climbed by its gradient, from random faces at random strengths. Here the
step has a part for each style of a face (W+), is measured in standard deviations of the network's own styles (whitened
W), and never gets longer than one of these per strength. All faces have the same say in where it goes, so that it works
for most of them, and not for a few that change easily. Its aim is to go far, or to raise the log-odds from one strength
to the next on still more faces: then those on which they rise already have less say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.images import write_png
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, require_folder_of
from ...stylegan.directions import Direction, save_direction
from ...stylegan.drawing import Drawing
from ...stylegan.generator import load_generator
from ..progress import OnProgress, no_progress
from .differentiable import faces_for
from .edited import by_strength
from .features import identity_features

METHODS = {
    "far": "ascent of a judge's log-odds, all faces alike, in whitened W+, after GANalyze (arXiv:1906.10112)",
    "most": "ascent of the rise of a judge's log-odds in whitened W+, after GANalyze (arXiv:1906.10112)",
}
REACH = 3.0
"""It is measured at strengths from 0 to this."""
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Those that are measured and drawn."""
RISING = (0.0, 1.0, 2.0)
"""Those over which the wanted probability should rise."""
_STRIP = 8
_BATCH = 16
_PATH, _MOMENTUM = 7.5, 0.9  # twice the standard deviations that the ascent can go; its steps get shorter to the end
_WEAKER = 1.0  # a face is judged at a strength from 0 to this, and at one more
_RISEN = 0.1  # the log-odds by which a face rises before it has little say
_JITTER = 3.0  # gray levels of noise on what the judge sees


@dataclass(frozen=True)
class DirectionOptions(Drawing):
    """Settings of the direction to learn.

    Attributes:
        toward: the label whose probability the direction raises.
        keep: labels whose probabilities it should leave alone.
        aim: ``most``, to raise the label on most faces; ``far``, to raise it as far as it goes.
        judge: a classifier's file or name; None for the default.
        n: faces to draw and judge, at least 16.
        tested: other seeds, at least 8, on which the direction is measured.
        seed: of the strengths and of what the judge sees.
        device: ``auto``, ``cpu`` or ``cuda``, of what measures the direction; it is learnt on the CPU.
    """

    toward: str
    keep: Sequence[str] = ()
    aim: str = "most"
    judge: str | None = None
    n: int = 3000
    tested: int = 96
    seed: int = 0


def learn_direction(options: DirectionOptions, out: str | Path, on_progress: OnProgress = no_progress) -> Direction:
    """Learn a direction, measure it on other seeds, and write it with a strip of faces beside it.

    Args:
        out: the ``.npz``; ``NAME.png`` beside it shows eight faces at seven strengths.

    Returns:
        The direction; ``about["measured"]`` has what it does at each strength.

    Raises:
        DataError: a network cannot be read or has no gradients, or a file cannot be written.
        UsageError: the judge does not know a label, or the label is both wanted and kept.
    """
    path = Path(out)
    if path.suffix.lower() != ".npz":
        raise UsageError(f"--out {printable(out)}: a direction is an .npz file; give a name that ends so")
    require_folder_of(path)
    learner = _Learner(options, on_progress)
    vector = learner.learn()
    measured, strip = learner.measure(vector)
    about = {
        "method": METHODS[options.aim],
        "space": "w+" if learner.generator.num_ws > 1 else "z",
        "n": options.n,
        "kept": list(options.keep),
        "truncation_psi": learner.psi,
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
        self.generator, self.psi = options.open()
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
        self._rng = np.random.default_rng(options.seed)
        self._steps = options.n // _BATCH
        self._total = self._steps * _BATCH + len(STRENGTHS) * options.tested

    def _of(self, seeds: Sequence[int]) -> np.ndarray:
        return self.generator.styles(seeds, self.psi, class_index=self.options.class_index)

    def learn(self) -> np.ndarray:
        """The vector, float32 [num_ws, w_dim], of a DCGAN [w_dim]."""
        styles = self._of(range(self.options.n))
        spread = torch.from_numpy(_spread(styles[:, 0])).float()
        judge = _Judge(self)
        step = torch.zeros(self.generator.num_ws, spread.shape[1])
        speed, kept = torch.zeros_like(step), [torch.zeros_like(step) for _ in self.options.keep]
        toward, *others = (self._labels.index(label) for label in (self.options.toward, *self.options.keep))
        rate = _PATH / self._steps
        top, gaps = (REACH, (0,)) if self.options.aim == "far" else (_WEAKER, (0, 1))
        for number in range(self._steps):
            start = torch.from_numpy(styles[number * _BATCH : (number + 1) * _BATCH])
            strengths = torch.from_numpy(self._rng.uniform(0, top, (_BATCH, 1, 1))).float()
            on = torch.zeros(_BATCH, *step.shape, requires_grad=True)
            moved = [start + (strengths + gap) * (step + on) @ spread.T for gap in gaps]
            odds = judge(torch.cat(moved))
            for mean, label in zip(kept, others, strict=True):
                mean += _mean_unit(torch.autograd.grad(odds[-_BATCH:, label].sum(), on, retain_graph=True)[0])
            climbed = odds[-_BATCH:, toward] - (odds[:_BATCH, toward] if len(moved) > 1 else 0)
            say = torch.sigmoid(-climbed.detach() / _RISEN) if len(moved) > 1 else None
            climb = _mean_unit(torch.autograd.grad(climbed.sum(), on)[0], say)
            speed = _MOMENTUM * speed + climb
            step = step + rate * (1 - number / self._steps) * speed / _length(speed).clamp(min=1e-12)
            step = _across(step, kept)
            step = step / _length(step).clamp(min=1)
            self._count(_BATCH)
        if not float(_length(step)) > 1e-9:
            raise DataError(f"nothing in the styles of {self.generator.name} moves the label {self.options.toward}")
        vector = (step @ spread.T).numpy()
        return vector if len(vector) > 1 else vector[0]

    def measure(self, vector: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """Measure the direction on seeds that it was not learnt from, and draw a strip of the first ones."""
        start, tested = self.options.n, self.options.tested
        styles, label = self._of(range(start, start + tested)), self._labels.index(self.options.toward)
        at = {strength: list(self._draw(styles + np.float32(strength) * vector)) for strength in STRENGTHS}
        answers = {strength: self._predict(pictures) for strength, pictures in at.items()}
        rising = np.stack([answers[strength][:, label] for strength in RISING])
        space = identity_features(self.options.device)
        went = by_strength({strength: space.compute(pictures) for strength, pictures in at.items()})
        rows = [
            {
                "probability": float(answers[row.strength][:, label].mean()),
                "shares": {
                    name: float((answers[row.strength].argmax(axis=1) == k).mean())
                    for k, name in enumerate(self._labels)
                },
                **row.to_json(),
            }
            for row in went
        ]
        strip = np.concatenate(
            [np.concatenate([at[strength][row] for strength in STRENGTHS], axis=1) for row in range(_STRIP)]
        )
        rises = float((np.diff(rising, axis=0) > 0).all(axis=0).mean())
        measured = {"seeds": tested, "rising": rises, "rising_over": list(RISING), "features": space.name}
        return {**measured, "strengths": rows}, strip

    def _count(self, faces: int) -> None:
        self._done += faces
        self._progress(self._done, self._total)

    def _draw(self, styles: np.ndarray) -> Iterator[np.ndarray]:
        for picture in self.generator.draw(styles):
            self._count(1)
            yield picture

    def _predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        return self.classifier.predict(self._preparation.prepare(pictures))


class _Judge:
    """Generator, preparation and classifier as one differentiable function on the CPU.

    What the judge sees is mirrored, shifted by a pixel and made noisy at random, so that the direction changes the face
    and does not find a pattern of single pixels to which the judge is blind otherwise.
    """

    def __init__(self, learner: _Learner) -> None:
        self.generator = load_generator(learner.options.network, device="cpu")
        self._classifier, self._rng = learner.classifier, np.random.default_rng(learner.options.seed)
        self._network = learner.classifier.keras_model()
        self._logits = learner.classifier.card.get("outputs") == "logits"
        names = learner.classifier.outputs
        self._columns = [names.index(label) for label in learner.classifier.labels]

    def __call__(self, styles: torch.Tensor) -> torch.Tensor:
        """Log-odds [N, K] of styles [N, num_ws, w_dim]."""
        pictures = (self.generator.differentiable(styles) * 127.5 + 128).clamp(0, 255)
        pictures = torch.roll(pictures, tuple(self._rng.integers(-1, 2, 2).tolist()), (2, 3))
        if self._rng.random() < 0.5:
            pictures = pictures.flip(3)
        faces = faces_for(self._classifier, pictures)
        noise = torch.from_numpy(self._rng.normal(0, _JITTER, tuple(faces.shape))).float()
        seen = self._classifier.prepared((faces + noise).clamp(0, 255).permute(0, 2, 3, 1).contiguous())
        answers = self._network(seen)[:, self._columns]
        probabilities = answers.softmax(dim=1) if self._logits else answers
        return torch.logit(probabilities, eps=1e-6)


def _spread(w: np.ndarray) -> np.ndarray:
    """[w_dim, R]: steps of one standard deviation in whitened W, in the directions in which styles differ at all."""
    values, vectors = np.linalg.eigh(np.cov(w.astype(np.float64).T))
    real = values > 1e-9 * values.max()
    return np.asarray(vectors[:, real] * np.sqrt(values[real]))


def _mean_unit(gradients: torch.Tensor, say: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of gradients [N, num_ws, R], each made of length 1, or as long as its face's say [N]."""
    lengths = gradients.square().sum(dim=(1, 2)).sqrt().clamp(min=1e-12)
    scale = (1 if say is None else say) / lengths
    return (gradients * scale[:, None, None]).mean(dim=0)


def _length(step: torch.Tensor) -> torch.Tensor:
    """The root mean square over styles of the lengths of a step [num_ws, R]."""
    return step.square().sum(dim=1).mean().sqrt()


def _across(step: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
    """The part of a step that is orthogonal to others of its shape."""
    if not others:
        return step
    kept = torch.linalg.qr(torch.stack([one.flatten() for one in others], dim=1))[0]
    flat = step.flatten()
    return (flat - kept @ (kept.T @ flat)).reshape(step.shape)
