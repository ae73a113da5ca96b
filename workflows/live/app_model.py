"""The work behind the app's pages: a picture or a seed in, probabilities out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...classify.classifier import Classifier
from ...runtime.errors import UsageError
from ...runtime.files import printable
from ...stylegan.directions import Direction
from ...stylegan.generator import MAX_SEED, Generator, default_psi


@dataclass(frozen=True)
class Judgement:
    """A classifier's judgement of a picture.

    Attributes:
        shares: label -> probability, in the model's order of labels.
        seen: uint8 [H, W] or [H, W, 3], the prepared face that was judged.
        found: whether a face was found; None where none was searched for.
    """

    shares: dict[str, float]
    seen: np.ndarray
    found: bool | None


class Studio:
    """Classifiers by name, and a generator. Its methods may be called from several threads.

    Attributes:
        classifiers: name -> classifier, in the order of their tabs.
        psi: the generator's default truncation.
        directions: of the generator, by the labels that they lead to.

    Raises:
        UsageError: two directions lead to one label.
        DataError: a direction is of another generator.
    """

    def __init__(
        self, classifiers: Mapping[str, Classifier], generator: Generator, directions: Sequence[Direction] = ()
    ) -> None:
        self.classifiers, self.generator = dict(classifiers), generator
        self.psi = default_psi(generator, None)
        self.directions: dict[str, Direction] = {}
        for one in directions:
            one.offset(1, generator)
            if one.label in self.directions:
                raise UsageError(f"--direction {printable(one.name)}: another one leads to {printable(one.label)} too")
            self.directions[one.label] = one
        self._drawing = threading.Lock()

    def judge(self, name: str, picture: np.ndarray, crop: str = "none") -> Judgement:
        """The probabilities of one picture, uint8 [H, W, 1 or 3]."""
        missed: list[int] = []
        classifier = self.classifiers[name]
        faces = classifier.preparation(crop).prepare([picture], missed)
        shares = zip(classifier.labels, map(float, classifier.predict(faces)[0]), strict=True)
        return Judgement(dict(shares), faces[0], not missed if crop == "detect" else None)

    def draw(
        self,
        seed: float | None,
        psi: float | None,
        class_index: float | None = None,
        strengths: Sequence[float] = (),
    ) -> np.ndarray:
        """The face of a seed: uint8 [H, W, 1 or 3], moved along each of the directions by a strength, if any are given.

        Raises:
            UsageError: the seed is not an integer from 0 to 2**32 - 1, there is no psi, or the class is none of the
                generator's.
        """
        if psi is None:
            raise UsageError("truncation psi must be a number, such as 0.7")
        if seed is None or seed != int(seed) or not 0 <= seed <= MAX_SEED:
            raise UsageError(f"the seed must be an integer from 0 to {MAX_SEED}")
        chosen = None if class_index is None else int(class_index)
        with self._drawing:
            styles = self.generator.styles([int(seed)], psi, class_index=chosen)
            for direction, strength in zip(self.directions.values(), strengths, strict=False):
                styles = styles + direction.offset(strength, self.generator)
            return next(self.generator.draw(styles))


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """For the eye: uint8 [H, W, 1 or 3] or [H, W] -> RGB [., ., 3] whose shorter side has at least ``side`` pixels."""
    image = Image.fromarray(picture[..., 0] if picture.shape[2:] == (1,) else picture).convert("RGB")
    scale = side / min(image.size)
    if scale > 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)
