"""A judge: a classifier with the preparation of its faces; and the judges that a run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ...classify.card import GivenRange, View
from ...classify.classifier import Classifier, load_classifier
from ...data.labels import canonical_label
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..progress import Tell
from ..run_folder.faces import Face
from ..run_folder.folder import RunFolder
from ..run_folder.labels import face_table
from ..run_folder.records import ClassifyRecord
from ..run_folder.seats import JudgeFolder, folder_name, judge_name, seats


@dataclass(frozen=True)
class ClassifyOptions:
    """How to judge.

    Attributes:
        model: a model file or the name of a bundled or published classifier; None for fernet.
        images: a folder or zip of pictures to judge in place of the run's own.
        crop: which part of a picture is the face: ``none``, ``ffhq`` or ``detect``.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels, input_range: what the model file cannot say (see :func:`fergan.classify.classifier.load_classifier`).
        view: ``48`` or ``own``; None as the model asks for.
        name: what the run calls the judge; None for the model's own name.
        further: more judges of the same faces, as (name or None, model).
    """

    model: str | None = None
    images: str | None = None
    crop: str = "none"
    device: str = "auto"
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None
    view: View | None = None
    name: str | None = None
    further: tuple[tuple[str | None, str], ...] = ()

    def each(self) -> tuple[ClassifyOptions, ...]:
        """The options of each judge by itself, the first one first.

        Raises:
            UsageError: labels or an input range were given for several judges at once.
        """
        if self.further and (self.labels is not None or self.input_range is not None):
            raise UsageError(
                "--labels and --input-range are of one model; with several, write what a file cannot say into the "
                "NAME.json beside it"
            )
        others = (replace(self, model=model, name=name, further=()) for name, model in self.further)
        return replace(self, further=()), *others


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
        self.given, self.name = options.name, folder_name(options.name or self.classifier.name)

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
            name=self.name if self.given else None,
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

        Faces at which the network fails are skipped with the reason.

        Args:
            faces: all of the shard.
            prepared: uint8 [M, *preparation.shape], those that were not skipped.
            skipped: file name -> why it could not be judged.

        Returns:
            The table of :func:`fergan.workflows.run_folder.labels.label_table`.

        Raises:
            DataError: the network fails at all of them.
        """
        classes, skipped = self.classifier.labels, dict(skipped or {})
        if not len(prepared):
            return face_table(faces, np.empty((0, len(classes)), np.float32), classes, skipped)
        try:
            probabilities = self.classifier.predict(prepared)
        except DataError as error:
            names = [face.name for face in faces if face.name not in skipped]
            probabilities, failed = self._one_by_one(prepared)
            if len(failed) == len(prepared):
                raise error
            skipped |= {names[row]: reason for row, reason in failed.items()}
        return face_table(faces, probabilities, classes, skipped)

    def _one_by_one(self, prepared: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """float32 [M, K] of the faces that the network can judge, and by its row why it cannot judge another."""
        rows, failed = [], {}
        for row in range(len(prepared)):
            try:
                rows.append(self.classifier.predict(prepared[row : row + 1]))
            except DataError as error:
                failed[row] = str(error)
        return np.concatenate(rows) if rows else np.empty((0, len(self.classifier.labels)), np.float32), failed

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


@dataclass
class Seat:
    """A judge and its folder in a run.

    Attributes:
        judge: the loaded classifier.
        folder: where its labels go.
        look: at its first labels.
        failed: why it gave up, None while nothing went wrong.
    """

    judge: Judge
    folder: RunFolder
    look: FirstLook
    failed: str | None = None


def open_judges(options: ClassifyOptions) -> list[Judge]:
    """All judges that were asked for.

    Raises:
        DataError: a model cannot be used.
        UsageError: two have one name, or two have no two labels in common.
    """
    judges = [Judge(one) for one in options.each()]
    for number, judge in enumerate(judges):
        for other in judges[:number]:
            if judge.name.casefold() == other.name.casefold():
                raise UsageError(
                    f"--model: two judges are called {printable(judge.name)}; name them apart: --model NAME=FILE"
                )
            ours, theirs = ({canonical_label(label) for label in one.classifier.labels} for one in (judge, other))
            if len(ours & theirs) < 2:
                raise UsageError(
                    f"--model: {printable(other.name)} ({', '.join(map(printable, sorted(theirs)))}) and "
                    f"{printable(judge.name)} ({', '.join(map(printable, sorted(ours)))}) have not two labels in "
                    "common; label with them in runs of their own"
                )
    return judges


def take_seats(run: RunFolder, judges: Sequence[Judge], tell: Tell) -> list[Seat]:
    """Give each judge its folder: the one it had before; of a new run the first gets the run's own.

    Judges may join a run that others have labelled, if one of those is named again. Those that are not named keep
    their labels.
    """
    known = {judge_name(folder): folder for folder in seats(run)} if run.classify else {}
    joined = any(judge.name in known for judge in judges)
    found = []
    for number, judge in enumerate(judges):
        new = JudgeFolder(run, judge.name) if joined or number else run
        found.append(Seat(judge, known.get(judge.name, new), FirstLook(judge.classifier, tell)))
        for remark in judge.classifier.remarks:
            tell(remark)
    return found


def fail(taken: Sequence[Seat], seat: Seat, error: DataError) -> None:
    """A judge cannot go on: it costs its own labels; or, where there is no other judge left, the error is raised."""
    seat.failed = str(error)
    if all(other.failed for other in taken):
        raise error


def close(taken: Sequence[Seat], tell: Tell) -> None:
    """Record which judges failed, and say so."""
    for seat in taken:
        seat.folder.put("failed", seat.failed)
        if seat.failed:
            tell(
                f"the judge {printable(seat.judge.name)} failed and has no whole table of labels: {seat.failed}; the "
                "others have theirs, and the same command tries it again"
            )
