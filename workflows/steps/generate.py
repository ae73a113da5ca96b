"""Step one: seeds, or styles that were found some other way, become pictures in the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.files import printable
from ...stylegan.generator import Generator, default_psi, load_generator
from ..background import PictureWriter
from ..progress import OnProgress, no_progress
from ..run_folder.faces import Face, planned_faces
from ..run_folder.folder import RunFolder, make_faces_folder
from ..run_folder.seeds import format_seeds, shards
from .projected import read_projected_w


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate.

    Attributes:
        seeds: sorted, each once; not looked at where there is ``projected_w``.
        network: a checkpoint file or the name of a bundled or published generator; None for the best bundled one.
        truncation_psi: None for the generator's own default.
        truncation_cutoff: truncate only so many of the first styles; None for all.
        psi_sweep: make the seeds once for each of these psi, in place of ``truncation_psi``; ascending, each once.
        projected_w: a ``.npz`` of styles to draw in place of seeds; they are not truncated.
        noise_mode: ``const``, ``random`` (seeded by the face's seed) or ``none``.
        class_index: for conditional generators.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    seeds: Sequence[int]
    network: str | None = None
    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    psi_sweep: tuple[float, ...] | None = None
    projected_w: str | None = None
    noise_mode: str = "const"
    class_index: int | str | None = None
    device: str = "auto"


class FaceMaker:
    """A loaded generator with its settings: faces of a run in, pictures out.

    Attributes:
        faces: all of the run, in order.

    Raises:
        DataError: the checkpoint or the file of projected styles cannot be used.
        UsageError: an option does not fit the generator.
    """

    def __init__(self, options: GenerateOptions) -> None:
        self.options = options
        self.generator: Generator = load_generator(options.network, device=options.device)
        self.psi = default_psi(self.generator, options.truncation_psi)
        cutoff, styles = options.truncation_cutoff, self.generator.num_ws
        if cutoff is not None and cutoff > styles:
            raise UsageError(
                f"--trunc-cutoff {cutoff}: {self.generator.name} has {styles} styles; give at most {styles}"
            )
        self.class_index: int | None = None
        self._projected: tuple[np.ndarray, str] | None = None
        if options.projected_w is not None:
            self._projected = read_projected_w(options.projected_w, self.generator)
        else:  # here, before a run folder takes the settings over
            self.class_index = self.generator.find_class(options.class_index)
        self.faces = planned_faces(self.settings())

    def settings(self) -> dict[str, Any]:
        """Everything that decides the pictures, for ``run.json``."""
        options = self.options
        settings = {
            "network": self.generator.name,
            "sha256": self.generator.sha256,
            **self._what(),
            "noise_mode": options.noise_mode,
            "class": self.class_index,
            "resolution": self.generator.img_resolution,
            "channels": self.generator.img_channels,
        }
        licence = self.generator.metadata.get("licence")
        return {**settings, "licence": licence} if licence else settings

    def _what(self) -> dict[str, Any]:
        options = self.options
        if self._projected is not None:
            styles, sha256 = self._projected
            name = Path(options.projected_w or "").name
            return {"projected_w": printable(name), "projected_w_sha256": sha256, "n": len(styles)}
        seeds = {"seeds": format_seeds(options.seeds), "n": len(options.seeds) * len(options.psi_sweep or (1,))}
        if options.psi_sweep:
            truncation: dict[str, Any] = {"psi_sweep": list(options.psi_sweep)}
        else:
            truncation = {"truncation_psi": self.psi}
        if options.truncation_cutoff is not None:
            truncation["truncation_cutoff"] = options.truncation_cutoff
        return {**seeds, **truncation}

    def make(self, faces: Sequence[Face]) -> np.ndarray:
        """uint8 [N, R, R, C]."""
        options = self.options
        if self._projected is not None:
            rows = [face.row or 0 for face in faces]
            return np.stack(list(self.generator.draw(self._projected[0][rows], options.noise_mode, rows)))
        return np.concatenate(
            [
                self.generator.generate(
                    [face.seed for face in group if face.seed is not None],
                    truncation_psi=self.psi if psi is None else psi,
                    truncation_cutoff=options.truncation_cutoff,
                    noise_mode=options.noise_mode,
                    class_index=self.class_index,
                )
                for psi, group in groupby(faces, key=lambda face: face.psi)
            ]
        )


def missing_faces(run: RunFolder, faces: Sequence[Face]) -> list[Face]:
    """The faces without a picture. Pictures appear complete or not at all, so one that is there is done."""
    there = {path.name for path in run.faces.iterdir()} if run.faces.is_dir() else set()
    return [face for face in faces if face.name not in there]


def generate(run: RunFolder, options: GenerateOptions, on_progress: OnProgress = no_progress) -> tuple[Path, int]:
    """Make all pictures that are not there yet.

    Returns:
        The folder of the pictures, and how many the run has.

    Raises:
        DataError: the checkpoint cannot be read or a file cannot be written.
        UsageError: the run folder was made with other settings, or an option does not fit the generator.
    """
    started = time.monotonic()
    maker = FaceMaker(options)
    run.claim("generate", maker.settings())
    make_faces_folder(run)
    todo = missing_faces(run, maker.faces)
    done = len(maker.faces) - len(todo)
    on_progress(done, len(maker.faces))
    with PictureWriter() as writer:
        for face, picture in _pictures(maker, todo):
            writer.write(run.faces / face.name, picture)
            done += 1
            on_progress(done, len(maker.faces))
    if todo:
        run.note("generate", time.monotonic() - started)
    return run.faces, len(maker.faces)


def _pictures(maker: FaceMaker, faces: Sequence[Face]) -> Iterator[tuple[Face, np.ndarray]]:
    for _, shard in shards(faces, 16):
        yield from zip(shard, maker.make(shard), strict=True)
