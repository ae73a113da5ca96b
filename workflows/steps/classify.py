"""Step two: pictures, from the run folder or from anywhere, become labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...classify.card import GivenRange
from ...classify.classifier import Classifier, load_classifier
from ...data.faces import Preparation, prepare_faces
from ...data.image_source import ImageSource
from ...data.images import read_image
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..progress import OnProgress, no_progress
from ..run_folder.faces import Face, planned_faces
from ..run_folder.folder import RunFolder
from ..run_folder.labels import face_table, merge_parts, whole_part, write_part
from ..run_folder.seeds import shards


@dataclass(frozen=True)
class ClassifyOptions:
    """How to judge.

    Attributes:
        model: a model file or the name of a bundled classifier; None for fernet.
        images: a folder or zip of pictures to judge in place of the run's own.
        crop: how pictures become 48x48 faces: ``none``, ``ffhq`` or ``detect``.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels, input_range: what the model file cannot say (see :func:`fergan.classify.classifier.load_classifier`).
    """

    model: str | None = None
    images: str | None = None
    crop: str = "none"
    device: str = "auto"
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None


class Judge:
    """A loaded classifier with its face preparation: pictures in, probabilities out."""

    def __init__(self, options: ClassifyOptions) -> None:
        self.preparation = Preparation(options.crop)
        self.classifier: Classifier = load_classifier(
            options.model, device=options.device, labels=options.labels, input_range=options.input_range
        )

    def settings(self) -> dict[str, Any]:
        """Everything that decides the labels, for ``run.json``."""
        settings = {
            "model": self.classifier.name,
            "sha256": self.classifier.sha256,
            "labels": list(self.classifier.labels),
            **self.preparation.as_dict(),
        }
        if self.classifier.input_range != (0.0, 255.0):
            settings["input_range"] = np.array(self.classifier.input_range).tolist()
        if self.classifier.card.get("outputs") == "logits":
            settings["outputs"] = "logits"
        licence = self.classifier.card.get("licence")
        return {**settings, "licence": str(licence)} if licence else settings

    def keep_validation(self, run: RunFolder) -> None:
        """Put the classifier's answers on labelled faces into the run folder, so that a report needs nothing else."""
        if self.classifier.validation is not None and not run.validation.exists():
            write_atomically(run.validation, self.classifier.validation)

    def judge(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """uint8 pictures [H, W, 1|3] -> float32 [N, K]."""
        return self.classifier.predict(prepare_faces(pictures, crop=self.preparation.crop))


def classify(run: RunFolder, options: ClassifyOptions, on_progress: OnProgress = no_progress) -> tuple[Path, int]:
    """Label all pictures that have no label yet, and write ``labels.csv``.

    A picture that cannot be read is skipped and recorded with the reason.

    Returns:
        The path of ``labels.csv`` (beyond a million labels, of the folder of the Parquet parts), and how many pictures
        were skipped.

    Raises:
        DataError: no pictures, some of the run's pictures are missing, every picture is unreadable, or a file cannot
            be written.
        UsageError: the run folder was classified with other settings.
    """
    started = time.monotonic()
    source = _ForeignPictures(options.images) if options.images else _RunPictures(run)
    judge = Judge(options)
    if options.images and run.settings("generate"):
        raise UsageError(
            f"{printable(run.path)} holds generated faces and --images names others; choose another folder with --run"
        )
    run.claim("classify", {**judge.settings(), **source.settings()})
    judge.keep_validation(run)
    worked, count, done = False, 0, 0
    for number, faces in shards(source.faces):
        if not whole_part(run, number, [face.name for face in faces]):
            worked = True
            write_part(run, number, _label_shard(source, faces, judge))
        count, done = count + 1, done + len(faces)
        on_progress(done, len(source.faces))
    skipped = merge_parts(run, count)
    if skipped == len(source.faces):
        raise DataError(f"{source.place}: none of its {skipped} pictures could be read; see {run.skipped_csv}")
    if worked:
        run.note("classify", time.monotonic() - started)
    return run.labels_csv if run.labels_csv.exists() else run.labels, skipped


class _RunPictures:
    """The pictures that ``generate`` made, in its order."""

    def __init__(self, run: RunFolder) -> None:
        made = run.settings("generate")
        self.place = printable(run.faces)
        if made is None:
            raise DataError(
                f"{printable(run.path)}: holds no generated faces; run 'fergan generate --run {run.name}' first, "
                "or name a folder of pictures with --images"
            )
        self.run = run
        self.faces: Sequence[Face] = planned_faces(made)
        missing = sum(1 for face in self.faces if not (run.faces / face.name).exists())
        if missing:
            raise DataError(
                f"{self.place}: {missing} of {len(self.faces)} faces are missing; "
                "run 'fergan generate' again with the same settings to finish them"
            )

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, name: str) -> np.ndarray:
        return read_image(self.run.faces / name)


class _ForeignPictures:
    """The pictures of any folder or zip."""

    def __init__(self, path: str) -> None:
        self.source = ImageSource(path)
        self.place = printable(path)
        self.faces = [Face(name) for name in self.source.names]

    def settings(self) -> dict[str, Any]:
        # sizes and times too: other pictures under the same names must not keep the labels of the old ones
        place = self.source.path
        files = [place / name for name in self.source.names] if place.is_dir() else [place]
        states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        listing = hashlib.sha256(repr((list(self.source.names), states)).encode("utf-8", "surrogatepass"))
        return {"images": str(place.resolve()), "n": len(self.faces), "pictures_sha256": listing.hexdigest()}

    def read(self, name: str) -> np.ndarray:
        return self.source.read(name)


def _label_shard(source: _RunPictures | _ForeignPictures, faces: Sequence[Face], judge: Judge) -> Any:
    pictures, skipped = [], {}
    for face in faces:
        try:
            pictures.append(source.read(face.name))
        except DataError as error:
            skipped[face.name] = str(error)
    classes = judge.classifier.labels
    probabilities = judge.judge(pictures) if pictures else np.empty((0, len(classes)), np.float32)
    return face_table(faces, probabilities, classes, skipped)
