"""All three steps in one process, without reading the pictures back from the disk."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from .classify import ClassifyOptions, Judge
from .generate import FaceMaker, GenerateOptions, make_faces_folder, missing_faces
from .labels import label_table, merge_parts, part_path, write_part
from .progress import OnProgress, no_progress
from .report import report
from .run_folder import RunFolder
from .seeds import face_name, shards
from .writer import PictureWriter

_HELD_BYTES = 256 * 2**20
"""Pictures kept in memory for the report; those of larger runs are read back when the report shows them."""


def run_all(
    run: RunFolder,
    generate: GenerateOptions,
    classify: ClassifyOptions,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Generate, classify and report; what an earlier call has finished is not done again.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError, UsageError: as :func:`fergan.workflows.generate.generate`,
            :func:`fergan.workflows.classify.classify` and :func:`fergan.workflows.report.report`.
    """
    started = time.monotonic()
    maker, judge = FaceMaker(generate), Judge(classify)
    run.claim("generate", maker.settings())
    run.claim("classify", judge.settings())
    make_faces_folder(run)
    missing = set(missing_faces(run, generate.seeds))
    held: dict[str, np.ndarray] = {}
    held_bytes, done, count, worked = 0, 0, 0, False
    with PictureWriter() as writer:
        for number, seeds in shards(generate.seeds):
            count += 1
            labelled = part_path(run, number).exists()
            todo = [seed for seed in seeds if seed in missing] if labelled else list(seeds)
            if todo:
                worked = True
                pictures = maker.make(todo)
                for seed, picture in zip(todo, pictures, strict=True):
                    if seed in missing:
                        writer.write(run.faces / face_name(seed), picture)
                    if held_bytes < _HELD_BYTES:
                        held[face_name(seed)] = picture
                        held_bytes += picture.nbytes
                if not labelled:
                    names = [face_name(seed) for seed in seeds]
                    table = label_table(names, list(seeds), judge.judge(pictures), judge.classifier.labels)
                    write_part(run, number, table)
            done += len(seeds)
            on_progress(done, len(generate.seeds))
    merge_parts(run, count)
    if worked:
        run.note("run", time.monotonic() - started)
    return report(run, held)
