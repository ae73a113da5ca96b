"""All three steps in one process, without reading the pictures back from the disk."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from .classify import ClassifyOptions, Judge
from .generate import FaceMaker, GenerateOptions, make_faces_folder, missing_faces
from .labels import face_table, merge_parts, part_path, write_part
from .progress import OnProgress, no_progress
from .report import report
from .run_folder import RunFolder
from .seeds import shards
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
    judge.keep_validation(run)
    make_faces_folder(run)
    missing = set(missing_faces(run, maker.faces))
    held: dict[str, np.ndarray] = {}
    held_bytes, done, count, worked = 0, 0, 0, False
    with PictureWriter() as writer:
        for number, faces in shards(maker.faces):
            count += 1
            labelled = part_path(run, number).exists()
            todo = [face for face in faces if face in missing] if labelled else list(faces)
            if todo:
                worked = True
                pictures = maker.make(todo)
                for face, picture in zip(todo, pictures, strict=True):
                    if face in missing:
                        writer.write(run.faces / face.name, picture)
                    if held_bytes < _HELD_BYTES:
                        held[face.name] = picture
                        held_bytes += picture.nbytes
                if not labelled:
                    write_part(run, number, face_table(faces, judge.judge(pictures), judge.classifier.labels))
            done += len(faces)
            on_progress(done, len(maker.faces))
    merge_parts(run, count)
    if worked:
        run.note("run", time.monotonic() - started)
    return report(run, held)
