"""Step two: pictures, from the run folder or from anywhere, become labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...classify.card import GivenRange, View
from ...classify.classifier import Classifier, load_classifier
from ...data.image_source import ImageSource
from ...data.images import read_image
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..progress import OnProgress, Tell, no_progress, say_nothing
from ..run_folder.faces import Face
from ..run_folder.folder import RunFolder
from ..run_folder.labels import face_table, labelled_names, merge_parts, whole_part, write_part
from ..run_folder.records import ClassifyRecord
from ..run_folder.seeds import shards
from ..run_folder.store import whole_pictures


@dataclass(frozen=True)
class ClassifyOptions:
    """How to judge.

    Attributes:
        model: a model file or the name of a bundled classifier; None for fernet.
        images: a folder or zip of pictures to judge in place of the run's own.
        crop: which part of a picture is the face: ``none``, ``ffhq`` or ``detect``.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels, input_range: what the model file cannot say (see :func:`fergan.classify.classifier.load_classifier`).
        view: ``48`` or ``own``; None as the model asks for.
    """

    model: str | None = None
    images: str | None = None
    crop: str = "none"
    device: str = "auto"
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None
    view: View | None = None


class Judge:
    """A loaded classifier with its face preparation: pictures in, probabilities out."""

    def __init__(self, options: ClassifyOptions) -> None:
        self.classifier: Classifier = load_classifier(
            options.model,
            device=options.device,
            labels=options.labels,
            input_range=options.input_range,
            view=options.view,
        )
        self.preparation = self.classifier.preparation(options.crop)

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
            columns=classifier.outputs if classifier.outputs != classifier.labels else None,
            licence=str(licence) if licence else None,
            other=preparation,
            **(pictures or {}),
        )

    def keep_validation(self, run: RunFolder) -> None:
        """Put the classifier's answers on labelled faces into the run folder, so that a report needs nothing else."""
        if self.classifier.validation is not None and not run.validation.exists():
            write_atomically(run.validation, self.classifier.validation)

    def prepare(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """uint8 pictures [H, W, 1|3] -> uint8 [N, *preparation.shape]."""
        return self.preparation.prepare(pictures)

    def label(self, faces: Sequence[Face], prepared: np.ndarray, skipped: dict[str, str] | None = None) -> pd.DataFrame:
        """Label the faces of a shard; the one way by which every engine labels.

        Args:
            faces: all of the shard.
            prepared: uint8 [M, *preparation.shape], those that were not skipped.
            skipped: file name -> why it could not be judged.

        Returns:
            The table of :func:`fergan.workflows.run_folder.labels.label_table`.
        """
        classes = self.classifier.labels
        probabilities = self.classifier.predict(prepared) if len(prepared) else np.empty((0, len(classes)), np.float32)
        return face_table(faces, probabilities, classes, skipped)

    def judge(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """uint8 pictures [H, W, 1|3] -> float32 [N, K]."""
        return self.classifier.predict(self.prepare(pictures))


class FirstLook:
    """Looks at the first labels of somebody else's network, and warns where one label takes them all with certainty.

    So does a network that gets another input range, or another kind of picture, than it was made for.
    """

    _FACES, _SHARE, _SURE = 32, 0.95, 0.99

    def __init__(self, classifier: Classifier, tell: Tell) -> None:
        self._classifier, self._tell = classifier, tell
        self._seen: list[np.ndarray] = []

    def __call__(self, table: pd.DataFrame) -> None:
        """Take in the labels of a shard (:func:`fergan.workflows.run_folder.labels.label_table`)."""
        if not self._classifier.foreign or sum(map(len, self._seen)) >= self._FACES:
            return
        self._seen.append(table[list(self._classifier.labels)].dropna().to_numpy())
        rows = np.concatenate(self._seen)
        if len(rows) >= self._FACES and (warning := self._warning(rows)):
            self._tell(warning)

    def _warning(self, rows: np.ndarray) -> str | None:
        counts = np.bincount(rows.argmax(axis=1), minlength=rows.shape[1])
        first = int(counts.argmax())
        sure = float(np.median(rows[rows.argmax(axis=1) == first, first]))
        if counts[first] <= self._SHARE * len(rows) or sure < self._SURE:
            return None
        judge = self._classifier
        low, high = np.asarray(judge.input_range, np.float64).T.reshape(2, -1)[:, 0]
        return (
            f"warning: {printable(judge.name)} calls {counts[first]} of the first {len(rows)} faces "
            f"{printable(judge.labels[first])}, with {100 * sure:.0f} % certainty; does it take black and white as "
            f"{low:g} and {high:g}{' (red)' if np.ndim(judge.input_range) == 2 else ''}, and its labels in this order? "
            "See --input-range, --labels and --view"
        )


def classify(
    run: RunFolder, options: ClassifyOptions, on_progress: OnProgress = no_progress, tell: Tell = say_nothing
) -> tuple[Path, int]:
    """Label all pictures that have no label yet, and write ``labels.csv``.

    A picture that cannot be read is skipped and recorded with the reason. ``tell`` gets what a person should know, a
    line each.

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
    if options.images and run.generate:
        raise UsageError(
            f"{printable(run.path)} holds generated faces and --images names others; choose another folder with --run"
        )
    record = judge.record(source.settings())
    run.claim(record, grown=_grown(run, record, source))
    judge.keep_validation(run)
    for remark in judge.classifier.remarks:
        tell(remark)
    worked, count, done, look = False, 0, 0, FirstLook(judge.classifier, tell)
    for number, faces in shards(source.faces):
        if not whole_part(run, number, [face.name for face in faces], source.mended):
            worked = True
            table = _label_shard(source, faces, judge)
            write_part(run, number, table)
            look(table)
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
                f"{self.place}: {missing} of {len(self.faces)} faces are missing; "
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
        place = self.source.path
        files = [place / name for name in names] if place.is_dir() else [place]
        states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr((list(names), states)).encode("utf-8", "surrogatepass")).hexdigest()

    def mended(self, name: str) -> bool:
        return False  # a picture that changed has changed the listing

    def read(self, name: str) -> np.ndarray:
        return self.source.read(name)


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
    return judge.label(faces, judge.prepare(pictures), skipped)
