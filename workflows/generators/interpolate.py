"""A film from face to face: straight lines between the seeds' styles."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from ...runtime.errors import UsageError
from ...runtime.files import printable, require_folder_of, write_atomically
from ...runtime.films import FILMS, VideoFile
from ...stylegan.directions import Direction
from ...stylegan.drawing import Drawing
from ...stylegan.generator import Generator, default_psi
from ..progress import OnProgress, no_progress

SUFFIXES = (".webp", *FILMS)
_MAX_BYTES = 2**31  # Pillow keeps all frames of an animation in memory until it writes them


@dataclass(frozen=True)
class InterpolateOptions(Drawing):
    """Options of a film.

    Attributes:
        seeds: the key frames, two or more; a seed may come again. With ``edit`` each gives two: the face as it is,
            and moved.
        frames: from one key frame to the next, the first of them included.
        fps: frames a second.
        loop: go back from the last seed to the first.
        noise_mode: ``const`` or ``none``.
        edit: directions, each with its strength.
    """

    seeds: Sequence[int]
    frames: int = 60
    fps: float = 30
    loop: bool = True
    noise_mode: str = "const"
    edit: tuple[tuple[Direction, float], ...] = ()

    @property
    def keys(self) -> int:
        """Key frames of the film."""
        return len(self.seeds) * (2 if self.edit else 1)

    @property
    def total(self) -> int:
        """Frames of the film."""
        return self.keys * self.frames if self.loop else (self.keys - 1) * self.frames + 1


def interpolate(options: InterpolateOptions, out: str | Path, on_progress: OnProgress = no_progress) -> Path:
    """Write the film: an animated WebP (endless where it loops) or a film that browsers play, by the ending of ``out``.

    Raises:
        DataError: the checkpoint cannot be read, or the film cannot be written.
        UsageError: fewer than two key frames, or another ending.
    """
    path = Path(out)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {printable(out)}: the ending decides the format; give one of {', '.join(SUFFIXES)}")
    if options.keys < 2:
        raise UsageError("--seeds: a film needs two seeds or more, such as 0,1,2")
    require_folder_of(path)
    generator, _ = options.open()
    pictures = film(generator, options, on_progress)
    if path.suffix.lower() == ".webp":
        _write_webp(path, pictures, options, generator)
        return path
    with VideoFile(path, generator.img_resolution, generator.img_resolution, options.fps) as file:
        for picture in pictures:
            file.write(picture)
    return path


def film(
    generator: Generator, options: InterpolateOptions, on_progress: OnProgress = no_progress
) -> Iterator[np.ndarray]:
    """The frames, one after another: uint8 [H, W, C].

    Frame ``k * options.frames`` is the face of key ``k``, and those between lie on a straight line in w.
    """
    psi = default_psi(generator, options.truncation_psi)
    keys = generator.styles(options.seeds, psi, class_index=options.class_index)
    if options.edit:
        moved = keys + sum(direction.offset(strength, generator) for direction, strength in options.edit)
        keys = np.stack([keys, moved], axis=1).reshape(-1, *keys.shape[1:])

    def path() -> Iterator[np.ndarray]:
        for frame in range(options.total):
            k, step = divmod(frame, options.frames)
            share = np.float32(step / options.frames)
            yield keys[k] if step == 0 else keys[k] * (1 - share) + keys[(k + 1) % len(keys)] * share

    # the same noise in every frame, or the film would flicker
    pictures = generator.draw(path(), options.noise_mode, noise_seeds=repeat(0))
    for done, picture in enumerate(pictures, start=1):
        yield picture
        on_progress(done, options.total)


def _write_webp(path: Path, pictures: Iterator[np.ndarray], options: InterpolateOptions, generator: Generator) -> None:
    size = options.total * generator.img_resolution**2 * 4
    if size > _MAX_BYTES:
        raise UsageError(
            f"{options.total} frames of {generator.img_resolution} pixels need {size / 2**30:.0f} GiB of memory "
            "as WebP; write a .webm, or fewer --frames"
        )
    frames = [Image.fromarray(picture if picture.shape[2] == 3 else picture[:, :, 0]) for picture in pictures]
    content, loop = io.BytesIO(), 0 if options.loop else 1
    pace = max(1, round(1000 / options.fps))
    frames[0].save(
        content, "WEBP", save_all=True, append_images=frames[1:], duration=pace, loop=loop, quality=90, method=2
    )
    write_atomically(path, content.getvalue())
