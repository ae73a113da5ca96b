"""Step one: seeds become pictures in the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.errors import DataError
from ..data.images import printable
from ..stylegan.generator import Generator, load_generator
from .progress import OnProgress, no_progress
from .run_folder import RunFolder
from .seeds import face_name, format_seeds, shards
from .writer import PictureWriter


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate.

    Attributes:
        seeds: sorted, each once.
        network: a checkpoint file or the name of a bundled generator; None for the best bundled one.
        truncation_psi: None for the generator's own default.
        noise_mode: ``const``, ``random`` (seeded by the face's seed) or ``none``.
        class_index: for conditional generators.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    seeds: Sequence[int]
    network: str | None = None
    truncation_psi: float | None = None
    noise_mode: str = "const"
    class_index: int | None = None
    device: str = "auto"


class FaceMaker:
    """A loaded generator with its settings: seeds in, pictures out."""

    def __init__(self, options: GenerateOptions) -> None:
        self.options = options
        self.generator: Generator = load_generator(options.network, device=options.device)
        default_psi = self.generator.metadata.get("default_truncation_psi", 1.0)
        self.psi = float(default_psi if options.truncation_psi is None else options.truncation_psi)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the pictures, for ``run.json``."""
        settings = {
            "network": self.generator.name,
            "sha256": self.generator.sha256,
            "seeds": format_seeds(self.options.seeds),
            "n": len(self.options.seeds),
            "truncation_psi": self.psi,
            "noise_mode": self.options.noise_mode,
            "class": self.options.class_index,
            "resolution": self.generator.img_resolution,
            "channels": self.generator.img_channels,
        }
        licence = self.generator.metadata.get("licence")
        return {**settings, "licence": licence} if licence else settings

    def make(self, seeds: Sequence[int]) -> np.ndarray:
        """uint8 [N, R, R, C]."""
        return self.generator.generate(
            list(seeds),
            truncation_psi=self.psi,
            noise_mode=self.options.noise_mode,
            class_index=self.options.class_index,
        )


def make_faces_folder(run: RunFolder) -> None:
    try:
        run.faces.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{printable(run.faces)}: the folder cannot be made ({error.strerror})") from error


def missing_faces(run: RunFolder, seeds: Sequence[int]) -> list[int]:
    """The seeds without a picture. Pictures appear complete or not at all, so one that is there is done."""
    there = {path.name for path in run.faces.iterdir()} if run.faces.is_dir() else set()
    return [seed for seed in seeds if face_name(seed) not in there]


def generate(run: RunFolder, options: GenerateOptions, on_progress: OnProgress = no_progress) -> Path:
    """Make the pictures of all seeds that have none yet.

    Returns:
        The folder of the pictures.

    Raises:
        DataError: the checkpoint cannot be read or a file cannot be written.
        UsageError: the run folder was made with other settings, or an option does not fit the generator.
    """
    started = time.monotonic()
    maker = FaceMaker(options)
    run.claim("generate", maker.settings())
    make_faces_folder(run)
    todo = missing_faces(run, options.seeds)
    done = len(options.seeds) - len(todo)
    on_progress(done, len(options.seeds))
    with PictureWriter() as writer:
        for seed, picture in _pictures(maker, todo):
            writer.write(run.faces / face_name(seed), picture)
            done += 1
            on_progress(done, len(options.seeds))
    if todo:
        run.note("generate", time.monotonic() - started)
    return run.faces


def _pictures(maker: FaceMaker, seeds: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    for _, shard in shards(seeds, 16):
        yield from zip(shard, maker.make(shard), strict=True)
