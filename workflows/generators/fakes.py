"""The pictures that ``fergan metrics`` judges: a generator's, drawn when they are needed, or those of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.files import printable
from ...stylegan.generator import Generator, default_psi
from .picture_set import PictureSet


@dataclass(frozen=True)
class Fakes:
    """Pictures to judge: ``title`` is for people, ``about`` for the record."""

    title: str
    about: dict[str, Any]
    count: int
    side: int
    channels: int
    pictures: Callable[[], Iterator[np.ndarray]]
    name: Callable[[int], str]
    picture: Callable[[int], np.ndarray]


def fakes_of_pictures(pictures: PictureSet, wanted: int) -> Fakes:
    name = printable(pictures.path.name)
    return Fakes(
        title=name,
        about={"images": name, "count": len(pictures), "reused": len(pictures) < wanted},
        count=len(pictures),
        side=pictures.side,
        channels=pictures.channels,
        pictures=lambda: (pictures[index] for index in range(len(pictures))),
        name=lambda index: printable(pictures.names[index]),
        picture=lambda index: pictures[index],
    )


def fakes_of_generator(
    generator: Generator, psi: float | None, class_index: int | str | None, seed: int, count: int, reals: PictureSet
) -> Fakes:
    """Faces of seeds ``seed`` and up.

    Args:
        generator: any; a conditional one needs a class, or data that have its classes.
        psi: truncation; None for the generator's own.
        class_index: None draws classes as often as the data have them.
        seed: the first.
        count: of all faces.
        reals: the data.
    """
    psi = default_psi(generator, psi)
    like_data = bool(generator.c_dim) and class_index is None
    one = None if like_data else generator.find_class(class_index)
    classes = classes_like(generator, reals, count, seed).tolist() if like_data else [one] * count

    def draw(places: slice) -> Iterator[np.ndarray]:
        return generator.faces(range(seed, seed + count)[places], psi, class_index=classes[places])

    about: dict[str, Any] = {
        "network": generator.name,
        "sha256": generator.sha256,
        "truncation_psi": psi,
        "seeds": f"{seed}-{seed + count - 1}",
        "count": count,
        **({"class": "as in the data" if like_data else one} if generator.c_dim else {}),
    }
    return Fakes(
        title=f"{generator.name}, psi {psi:g}",
        about=about,
        count=count,
        side=generator.img_resolution,
        channels=generator.img_channels,
        pictures=lambda: draw(slice(count)),
        name=lambda index: f"seed {seed + index}",
        picture=lambda index: next(draw(slice(index, index + 1))),
    )


def classes_like(generator: Generator, reals: PictureSet, count: int, seed: int) -> np.ndarray:
    """Classes of fakes, int [count], drawn as often as the data have them."""
    classes = reals.classes()
    if classes.shape[1] != generator.c_dim or not np.array_equal(classes.sum(axis=1), classes.max(axis=1)):
        raise UsageError(
            f"{printable(reals.path)}: its classes are not the {generator.c_dim} of {generator.name}; "
            f"choose one class with --class"
        )
    return np.random.default_rng(seed).choice(classes.argmax(axis=1), count)
