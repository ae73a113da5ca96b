"""Directions in the space of styles: a straight step that makes one expression stronger, for any face of a network.

A direction is a vector in W (of a DCGAN in z, which is its w), or one for each style of a face (W+). Its length is the
step of strength 1: one standard deviation of the network's own styles along it. A face is moved by adding
``strength * vector`` to its styles, after truncation.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.errors import DataError, UsageError
from ..runtime.files import npz_arrays, printable, read_bytes, write_atomically
from .generator import Generator
from .zoo import bundled_generators

FORMAT = "fergan.direction 1"
_MAX_BYTES = 2**24
_AGAIN = "make it again by 'fergan direction'"


@dataclass(frozen=True)
class Direction:
    """A direction of one network.

    Attributes:
        vector: float32 [w_dim], the same for all styles of a face, or [num_ws, w_dim], one for each of them.
        label: the expression that it leads to.
        network, network_sha256: whose styles it moves.
        judge, judge_sha256: the classifier that it was learnt from.
        reach: the strengths at which it was measured, lowest and highest.
        about: how it was learnt and what it does, as plain JSON values.
        name: of the file it was read from.
        sha256: of that file; None where there was none.
    """

    vector: np.ndarray
    label: str
    network: str
    network_sha256: str | None
    judge: str
    judge_sha256: str
    reach: tuple[float, float]
    about: Mapping[str, Any]
    name: str = "direction"
    sha256: str | None = None

    def leaves_reach(self, strength: float) -> bool:
        """Whether nobody knows what the direction does at a strength."""
        return not self.reach[0] <= strength <= self.reach[1]

    def offset(self, strength: float, generator: Generator) -> np.ndarray:
        """The step that moves the styles of a face by a strength: float32 [w_dim] or [num_ws, w_dim].

        Raises:
            DataError: this is a direction of another network.
        """
        fits = self.vector.shape in ((generator.w_dim,), (generator.num_ws, generator.w_dim))
        if self.network_sha256 != generator.sha256 or not fits:
            raise DataError(
                f"{printable(self.name)}: is a direction of {printable(self.network)} (sha256 "
                f"{printable(self.network_sha256)[:12]}) and means nothing to {generator.name} (sha256 "
                f"{(generator.sha256 or 'none')[:12]}); {_AGAIN} --network {generator.name}"
            )
        return np.float32(strength) * self.vector


def bundled_directions(network: str | Path | None = None) -> dict[str, Path]:
    """The directions that come with a bundled generator, by label; none for other generators."""
    bundled = bundled_generators()
    path = next(iter(bundled.values()), None) if network is None else bundled.get(str(network), Path(network))
    if path is None or path not in bundled.values():
        return {}
    found = sorted(path.parent.glob(f"{path.stem}.*.npz"))
    return {one.stem.removeprefix(f"{path.stem}."): one for one in found}


def networks_with_directions() -> list[str]:
    """The bundled generators that directions come with."""
    return [name for name in bundled_generators() if bundled_directions(name)]


def find_direction(source: str, network: str | Path | None = None) -> Path:
    """The file of a direction: its path, or the label or file name of one that comes with the network.

    Raises:
        UsageError: neither a file nor a bundled direction is called so.
    """
    path = Path(source)
    if len(path.parts) > 1 or path.is_file():
        return path
    bundled = bundled_directions(network)
    for label, one in bundled.items():
        if source in (label, one.name):
            return one
    if path.suffix:
        return path
    raise UsageError(
        f"no file and no direction of {printable(network or next(iter(bundled_generators())))} is called "
        f"{printable(source)!r}; bundled are: {', '.join(bundled) or 'none'} (directions come with "
        f"{', '.join(networks_with_directions())}); 'fergan direction' makes others"
    )


def find_directions(sources: Sequence[str], network: str | Path | None = None) -> list[Path]:
    """The files of several directions, each as for :func:`find_direction`; where none are named all bundled ones."""
    return [find_direction(source, network) for source in sources] or [*bundled_directions(network).values()]


def save_direction(path: str | Path, direction: Direction) -> None:
    """Write a direction as a numpy archive: ``direction``, and everything else as JSON in ``about``.

    Raises:
        DataError: it cannot be written.
    """
    about = {
        "format": FORMAT,
        "label": direction.label,
        "network": direction.network,
        "network_sha256": direction.network_sha256,
        "judge": direction.judge,
        "judge_sha256": direction.judge_sha256,
        "reach": list(direction.reach),
        "about": direction.about,
    }
    buffer = io.BytesIO()
    np.savez(buffer, direction=direction.vector.astype(np.float32), about=np.array(json.dumps(about)))
    write_atomically(path, buffer.getvalue())


def read_direction(path: str | Path) -> Direction:
    """Read a direction; nothing in the file is executed.

    Raises:
        DataError: the file is missing or damaged.
    """
    label = printable(path)
    content = read_bytes(path)
    try:
        arrays = npz_arrays(content, _MAX_BYTES)
        vector, about = arrays["direction"].astype(np.float32), json.loads(str(arrays["about"]))
        if about["format"] != FORMAT:
            raise ValueError(f"it has the format {about['format']}")
        low, high = map(float, about["reach"])
        if vector.ndim not in (1, 2) or not np.isfinite(vector).all():
            raise ValueError("its vector is damaged")
        return Direction(
            vector,
            str(about["label"]),
            str(about["network"]),
            about["network_sha256"],
            str(about["judge"]),
            str(about["judge_sha256"]),
            (low, high),
            about["about"],
            Path(path).name,
            hashlib.sha256(content).hexdigest(),
        )
    except Exception as error:  # zipfile, zlib, numpy and json raise many types on damaged files
        raise DataError(f"{label}: is not a direction ({printable(error)}); {_AGAIN}") from error
