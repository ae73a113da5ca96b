"""Step two: pictures, from the run folder or from anywhere, become labels."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...classify.card import GivenRange
from ...classify.classifier import Classifier, load_classifier
from ...data.faces import Preparation, prepare_faces
from ...data.image_source import ImageSource
from ...data.images import read_image
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..progress import OnProgress, no_progress
from ..run_folder.faces import Face
from ..run_folder.folder import RunFolder
from ..run_folder.labels import NO_FACE, face_table, labelled_names, merge_parts, whole_part, write_part
from ..run_folder.records import ClassifyRecord
from ..run_folder.seeds import shards
from ..run_folder.store import whole_pictures


@dataclass(frozen=True)
class ClassifyOptions:
    """How to judge.

    Attributes:
        model: a model file or the name of a bundled classifier; None for fernet.
        images: a folder or zip of pictures to judge in place of the run's own.
        crop: how pictures become 48x48 faces: ``none``, ``ffhq`` or ``detect``.
        no_face: what becomes of a picture in which ``detect`` finds no face: ``whole``, judged as a whole, or ``skip``.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels, input_range: what the model file cannot say (see :func:`fergan.classify.classifier.load_classifier`).
    """

    model: str | None = None
    images: str | None = None
    crop: str = "none"
    no_face: str = "whole"
    device: str = "auto"
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None


@dataclass(frozen=True)
class Prepared:
    """Faces as a classifier gets them.

    Attributes:
        faces: uint8 [N, 48, 48].
        found: bool [N], whether the detector found a face in each picture; None where no detector looked.
    """

    faces: np.ndarray
    found: np.ndarray | None = None


class Judge:
    """A loaded classifier with its face preparation: pictures in, probabilities out."""

    def __init__(self, options: ClassifyOptions) -> None:
        self.preparation = Preparation(options.crop)
        self.no_face = options.no_face if options.crop == "detect" else None
        self.classifier: Classifier = load_classifier(
            options.model, device=options.device, labels=options.labels, input_range=options.input_range
        )

    def record(self, pictures: Mapping[str, Any] | None = None) -> ClassifyRecord:
        """Everything that decides the labels; ``pictures`` says which foreign ones are judged."""
        classifier, preparation = self.classifier, self.preparation.as_dict()
        odd_range = classifier.input_range != (0.0, 255.0)
        licence = classifier.card.get("licence")
        return ClassifyRecord(
            model=classifier.name,
            sha256=classifier.sha256,
            labels=tuple(classifier.labels),
            crop=preparation.pop("crop"),
            input_range=tuple(np.array(classifier.input_range).tolist()) if odd_range else None,
            outputs="logits" if classifier.card.get("outputs") == "logits" else None,
            licence=str(licence) if licence else None,
            no_face=self.no_face,
            other=preparation,
            **(pictures or {}),
        )

    def keep_validation(self, run: RunFolder) -> None:
        """Put the classifier's answers on labelled faces into the run folder, so that a report needs nothing else."""
        if self.classifier.validation is not None and not run.validation.exists():
            write_atomically(run.validation, self.classifier.validation)

    def label(self, faces: Sequence[Face], prepared: Prepared, skipped: dict[str, str] | None = None) -> pd.DataFrame:
        """Label the faces of a shard; the one way by which every engine labels.

        Args:
            faces: all of the shard.
            prepared: the M that could be read.
            skipped: file name -> why it could not be read.

        Returns:
            The table of :func:`fergan.workflows.run_folder.labels.label_table`.
        """
        classes, pictures, skipped = self.classifier.labels, prepared.faces, dict(skipped or {})
        found = None
        if prepared.found is not None:
            read = np.array([face.name not in skipped for face in faces], bool)
            found = np.zeros(len(faces), bool)
            found[read] = prepared.found
            if self.no_face == "skip":
                pictures = pictures[prepared.found]
                skipped |= {faces[row].name: NO_FACE for row in np.flatnonzero(read & ~found).tolist()}
        probabilities = self.classifier.predict(pictures) if len(pictures) else np.empty((0, len(classes)), np.float32)
        return face_table(faces, probabilities, classes, skipped, found)


def prepare(pictures: Sequence[np.ndarray] | np.ndarray, crop: str) -> Prepared:
    """Pictures, uint8 [H, W, 1|3] each, as a classifier gets them."""
    missed: list[int] = []
    faces = prepare_faces(pictures, crop=crop, missed=missed)
    if crop != "detect":
        return Prepared(faces)
    found = np.ones(len(faces), bool)
    found[missed] = False
    return Prepared(faces, found)


def classify(run: RunFolder, options: ClassifyOptions, on_progress: OnProgress = no_progress) -> tuple[Path, int]:
    """Label all pictures that have no label yet, and write ``labels.csv``.

    A picture that cannot be read is skipped and recorded with the reason; so is, where the options say it, one in which
    no face was found.

    Returns:
        The path of ``labels.csv`` (beyond a million labels, of the folder of the Parquet parts), and how many pictures
        were skipped.

    Raises:
        DataError: no pictures, some of the run's pictures are missing or damaged, no picture could be judged, or a
            file cannot be written.
        UsageError: the run folder was classified with other settings.
    """
    started = time.monotonic()
    source = _ForeignPictures(options.images) if options.images else _RunPictures(run)
    judge = Judge(options)
    if options.images and run.generate:
        raise UsageError(
            f"{printable(run.path)} holds generated faces and --images names others; choose another folder with --run"
        )
    record = judge.record(source.settings())
    run.claim(record, grown=_grown(run, record, source))
    judge.keep_validation(run)
    worked, count, done = False, 0, 0
    for number, faces in shards(source.faces):
        if not whole_part(run, number, [face.name for face in faces], source.mended):
            worked = True
            write_part(run, number, _label_shard(source, faces, judge))
        count, done = count + 1, done + len(faces)
        on_progress(done, len(source.faces))
    skipped = merge_parts(run, count)
    if skipped == len(source.faces):
        raise DataError(
            f"{source.place}: none of its {skipped} pictures could be judged; see {printable(run.skipped_csv)}"
        )
    if worked:
        run.note("classify", time.monotonic() - started)
    return run.labels_csv if run.labels_csv.exists() else run.labels, skipped


class _RunPictures:
    """The pictures that ``generate`` made, in its order."""

    def __init__(self, run: RunFolder) -> None:
        made = run.generate
        self.place = printable(run.faces)
        if made is None:
            raise DataError(
                f"{printable(run.path)}: holds no generated faces; run 'fergan generate --run {run.name}' first, "
                "or name a folder of pictures with --images"
            )
        self.run = run
        self.faces: Sequence[Face] = made.faces()
        whole = whole_pictures(run.faces)
        missing = sum(1 for face in self.faces if face.name not in whole)
        if missing:
            raise DataError(
                f"{self.place}: {missing} of {len(self.faces)} faces are missing or damaged; "
                "run 'fergan generate' again with the same settings to finish them"
            )

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, name: str) -> np.ndarray:
        return read_image(self.run.faces / name)

    def mended(self, name: str) -> bool:
        """Whether a picture that was skipped can be read by now."""
        try:
            self.read(name)
        except DataError:
            return False
        return True


class _ForeignPictures:
    """The pictures of any folder or zip."""

    def __init__(self, path: str) -> None:
        self.source = ImageSource(path)
        self.place = printable(path)
        self.faces = [Face(name) for name in self.source.names]

    def settings(self) -> dict[str, Any]:
        return {
            "images": str(self.source.path.resolve()),
            "n": len(self.faces),
            "pictures_sha256": self.listing(self.source.names),
        }

    def listing(self, names: Sequence[str]) -> str:
        """SHA-256 of what pictures there are."""
        # sizes and times too: other pictures under the same names must not keep the labels of the old ones
        files = dict.fromkeys(map(self.source.file, names))
        states = [(state.st_size, state.st_mtime_ns) for state in map(_state, files)]
        return hashlib.sha256(repr((list(names), states)).encode("utf-8", "surrogatepass")).hexdigest()

    def mended(self, name: str) -> bool:
        return False  # a picture that changed has changed the listing

    def read(self, name: str) -> np.ndarray:
        return self.source.read(name)


def _state(file: Path) -> os.stat_result:
    """Size and times of a file; of a link that leads nowhere, its own."""
    return file.stat() if file.exists() else file.lstat()


def _grown(run: RunFolder, record: ClassifyRecord, source: _RunPictures | _ForeignPictures) -> bool:
    """Whether a folder of pictures is the one that the run labelled, with more pictures in it."""
    before = run.classify
    if before is None or not isinstance(source, _ForeignPictures) or (before.n or 0) >= len(source.faces):
        return False
    if replace(record, n=before.n, pictures_sha256=before.pictures_sha256).differences(before):
        return False
    names, now = labelled_names(run), set(source.source.names)
    return now.issuperset(names) and source.listing(names) == before.pictures_sha256


def _label_shard(source: _RunPictures | _ForeignPictures, faces: Sequence[Face], judge: Judge) -> pd.DataFrame:
    pictures, skipped = [], {}
    for face in faces:
        try:
            pictures.append(source.read(face.name))
        except DataError as error:
            skipped[face.name] = str(error)
    return judge.label(faces, prepare(pictures, judge.preparation.crop), skipped)
