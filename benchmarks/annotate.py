"""How many frames a second ``fergan annotate`` manages: ``python -m benchmarks.annotate`` prints a Markdown table.

The films are made here, 640 x 480 pixels of blurred noise with faces of the bundled generator, or of ``--faces DIR``,
moving about. Decoding, finding, following, labelling, drawing and encoding are all in the time; loading is not.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np


def make_film(path: Path, pictures: list[np.ndarray], frames: int, fps: float = 25.0) -> None:
    """A film of 640 x 480 in which the pictures, uint8 [side, side, 3] RGB, move on Lissajous curves in a grid."""
    from fergan.runtime.films import VideoFile

    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 180, (12, 16, 3)).astype(np.uint8)
    background = coarse.repeat(40, axis=0).repeat(40, axis=1)
    columns = max(1, int(np.ceil(np.sqrt(len(pictures) * 4 / 3))))
    rows = max(1, int(np.ceil(len(pictures) / columns)))
    with VideoFile(path, 640, 480, fps) as film:
        for number in range(frames):
            frame = background.copy()
            for k, picture in enumerate(pictures):
                side = picture.shape[0]
                free_x, free_y = 640 / columns - side, 480 / rows - side
                x = round(k % columns * 640 / columns + free_x * (0.5 + 0.5 * np.sin(number / 23 + k)))
                y = round(k // columns * 480 / rows + free_y * (0.5 + 0.5 * np.sin(number / 31 + 2 * k)))
                frame[y : y + side, x : x + side] = picture
            film.write(frame)


def read_faces(folder: str | None, count: int, side: int) -> list[np.ndarray]:
    """Square face pictures uint8 [side, side, 3]: from a folder, or the bundled generator's."""
    from PIL import Image

    if folder is None:
        from fergan.stylegan.generator import load_generator

        pictures = list(load_generator().generate(list(range(count))))
    else:
        from fergan.data.image_source import ImageSource

        source = ImageSource(folder)
        pictures = [source.read(name) for name in source.names[:count]]
    pictures = [np.repeat(p, 3, axis=2) if p.shape[2] == 1 else p for p in pictures]
    return [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC)) for p in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=250, help="of each film")
    parser.add_argument("--faces", metavar="DIR|ZIP", help="face pictures; the bundled generator's by default")
    parser.add_argument("--detectors", default="haar,lbp", help="as for --detector, with commas between")
    parser.add_argument("--counts", default="0,1,4,12", help="faces in a frame")
    options = parser.parse_args()
    from fergan.workflows.live.annotate import AnnotateOptions, annotate

    print(f"Films of {options.frames} frames, 640 x 480; {platform.machine()}, {os.cpu_count()} cores\n")
    print("| detector | faces in a frame | frames a second | faces found | tracks |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in map(int, options.counts.split(",")):
            side = 220 if count <= 1 else int(0.9 * min(640 / np.ceil(np.sqrt(count * 4 / 3)), 480 / np.sqrt(count)))
            make_film(folder / "film.mp4", read_faces(options.faces, count, side) if count else [], options.frames)
            for detector in options.detectors.split(","):
                ticks: list[float] = []

                def tick(done: float, total: float, ticks: list[float] = ticks) -> None:
                    ticks.append(time.perf_counter())

                wanted = AnnotateOptions(
                    str(folder / "film.mp4"),
                    out=str(folder / "out.mp4"),
                    csv=str(folder / "out.csv"),
                    detector=detector,
                )
                done = annotate(wanted, tick)
                rate = done.frames / (time.perf_counter() - ticks[0])  # the first tick comes when all is loaded
                share = done.faces / (count * done.frames) if count else 0
                found = f"{100 * share:.0f} %" if count else f"{done.faces}"
                print(f"| {done.detector} | {count} | {rate:.0f} | {found} | {done.tracks} |", flush=True)


if __name__ == "__main__":
    main()
