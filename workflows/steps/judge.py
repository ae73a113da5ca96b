"""A judge: a classifier with the preparation of its faces; and the judges that a run has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from ...classify.card import GivenRange, View, refuse_for_several
from ...classify.classifier import Classifier, load_classifier
from ...data.faces import Preparation
from ...data.labels import canonical_label
from ...data.run_record.settings import ClassifyRecord
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..progress import Tell
from ..run_folder.faces import Face
from ..run_folder.folder import RunFolder
from ..run_folder.inputs import read_validation
from ..run_folder.labels import NO_FACE, RESERVED, face_table
from ..run_folder.seats import JudgeFolder, folder_name, judge_name, seats
from ..run_folder.seeds import SHARD


@dataclass(frozen=True)
class ClassifyOptions:
    """How to judge.

    Attributes:
        models: one or more judges of the same faces, as (what the run calls the judge, or None for the model's own
            name; a model file or the name of a bundled or published classifier, or None for the default). None of
            them: the default.
        images: a folder or zip of pictures to judge in place of the run's own.
        crop: which part of a picture is the face: ``none``, ``ffhq`` or ``detect``.
        no_face: what becomes of a picture in which ``detect`` finds no face: ``whole``, judged as a whole, or ``skip``.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels, input_range: what the model file cannot say (see :func:`fergan.classify.classifier.load_classifier`).
        view: ``48`` or ``own``; None as the model asks for.
    """

    models: tuple[tuple[str | None, str | None], ...] = ()
    images: str | None = None
    crop: str = "none"
    no_face: str = "whole"
    device: str = "auto"
    labels: tuple[str, ...] | None = None
    input_range: GivenRange | None = None
    view: View | None = None

    @property
    def name(self) -> str | None:
        """Name of the first judge in the run."""
        return self.models[0][0] if self.models else None

    @property
    def model(self) -> str | None:
        """The first judge's model."""
        return self.models[0][1] if self.models else None

    def with_model(self, model: str | None) -> ClassifyOptions:
        """The same for one judge, of this model."""
        return replace(self, models=((self.name, model),))

    def each(self) -> tuple[ClassifyOptions, ...]:
        """The options of each judge by itself, the first one first.

        Raises:
            UsageError: labels or an input range were given for several judges at once.
        """
        if len(self.models) > 1:
            refuse_for_several(self.labels, self.input_range)
        return tuple(replace(self, models=(one,)) for one in self.models or ((None, None),))


@dataclass(frozen=True)
class Prepared:
    """Faces as a classifier gets them.

    Attributes:
        faces: uint8 [N, *shape], of the shape of their :class:`fergan.data.faces.Preparation`.
        found: bool [N], whether the detector found a face in each picture; None where no detector looked.
    """

    faces: np.ndarray
    found: np.ndarray | None = None


class Judge:
    """A loaded classifier with its face preparation: pictures in, probabilities out.

    Raises:
        DataError: the model cannot be used.
        UsageError: an option does not fit it, or the table of labels has a column of its own by the name of a label.
    """

    def __init__(self, options: ClassifyOptions) -> None:
        self.classifier: Classifier = load_classifier(
            options.model,
            device=options.device,
            labels=options.labels,
            input_range=options.input_range,
            view=options.view,
        )
        if taken := RESERVED.intersection(self.classifier.labels):
            name = min(taken)
            raise UsageError(
                f"{printable(self.classifier.name)}: its label {name} is also a column of the table of labels; call it "
                "something else with --labels"
            )
        self.preparation = self.classifier.preparation(options.crop)
        self.no_face = options.no_face if options.crop == "detect" else None
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
            no_face=self.no_face,
            other=preparation,
            **(pictures or {}),
        )

    def keep_validation(self, run: RunFolder) -> None:
        """Put the classifier's answers on labelled faces into the run folder, so that a report needs nothing else.

        Those that are there stay, unless they are damaged.
        """
        if self.classifier.validation is None:
            return
        with suppress(DataError):
            read_validation(run)
            if run.validation.exists():
                return
        write_atomically(run.validation, self.classifier.validation)

    def label(self, faces: Sequence[Face], prepared: Prepared, skipped: dict[str, str] | None = None) -> pd.DataFrame:
        """Label the faces of a shard, by :func:`fergan.workflows.run_folder.labels.label_table`, as every engine does.

        Faces at which the network fails are skipped with the reason.

        Args:
            faces: all of the shard.
            prepared: the M that could be read, by :attr:`preparation`.
            skipped: file name -> why it could not be read.

        Raises:
            DataError: the network fails at all of them.
        """
        pictures, found, skipped = prepared.faces, None, dict(skipped or {})
        rows = [row for row, face in enumerate(faces) if face.name not in skipped]
        if prepared.found is not None:
            found = np.zeros(len(faces), bool)
            found[rows] = prepared.found
            if self.no_face == "skip":
                pictures = pictures[prepared.found]
                skipped |= {faces[row].name: NO_FACE for row in rows if not found[row]}
                rows = [row for row in rows if found[row]]
        probabilities, failed = self._probabilities(pictures)
        skipped |= {faces[rows[index]].name: reason for index, reason in failed.items()}
        return face_table(faces, probabilities, self.classifier.labels, skipped, found)

    def _probabilities(self, pictures: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """float32 [M, K] of the faces that the network can judge, and by its index why it cannot judge another."""
        if not len(pictures):
            return np.empty((0, len(self.classifier.labels)), np.float32), {}
        try:
            return self.classifier.predict(pictures), {}
        except DataError:
            answers, failed = [], {}
            for index in range(len(pictures)):
                try:
                    answers.append(self.classifier.predict(pictures[index : index + 1]))
                except DataError as error:
                    failed[index] = str(error)
            if not answers:
                raise
        return np.concatenate(answers), failed


def prepare(pictures: Sequence[np.ndarray] | np.ndarray, preparation: Preparation) -> Prepared:
    """Pictures, uint8 [H, W, 1|3] each, as a classifier gets them."""
    missed: list[int] = []
    faces = preparation.prepare(pictures, missed)
    if preparation.crop != "detect":
        return Prepared(faces)
    found = np.ones(len(faces), bool)
    found[missed] = False
    return Prepared(faces, found)


Views = Mapping[Preparation, Prepared]
"""The faces of a shard, prepared in each way that a judge of them needs."""


def prepare_each(pictures: Iterable[np.ndarray], preparations: Iterable[Preparation]) -> Views:
    """Pictures, uint8 [H, W, 1|3] each, prepared once in each way, some at a time so that few are in memory."""
    waiting, ways = iter(pictures), list(dict.fromkeys(preparations))
    parts: list[Views] = []
    while (block := list(islice(waiting, SHARD))) or not parts:
        parts.append({way: prepare(block, way) for way in ways})
    return {way: _joined([part[way] for part in parts]) for way in ways}


def _joined(parts: Sequence[Prepared]) -> Prepared:
    found = [part.found for part in parts if part.found is not None]
    return Prepared(np.concatenate([part.faces for part in parts]), np.concatenate(found) if found else None)


def label_shard(
    judges: Iterable[Judge], faces: Sequence[Face], prepared: Views, skipped: dict[str, str] | None = None
) -> Iterator[pd.DataFrame | DataError]:
    """Labels of a shard by each judge, or why it cannot label it; arguments as for :meth:`Judge.label`."""
    for judge in judges:
        try:
            yield judge.label(faces, prepared[judge.preparation], skipped)
        except DataError as error:
            yield error


class FirstLook:
    """Looks at the first labels of somebody else's network, and warns where one label takes them all with certainty.

    So does a network that gets another input range, or another kind of picture, than it was made for.
    """

    _FACES, _SHARE, _SURE = 32, 0.95, 0.99

    def __init__(self, classifier: Classifier, tell: Tell) -> None:
        self._classifier, self._tell = classifier, tell
        self._seen: list[np.ndarray] = []

    @property
    def open(self) -> bool:
        """Whether it wants to see more faces."""
        return self._classifier.foreign and sum(map(len, self._seen)) < self._FACES

    def __call__(self, table: pd.DataFrame) -> None:
        """Take in the labels of a shard (:func:`fergan.workflows.run_folder.labels.label_table`)."""
        if not self.open:
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


def claim_seats(
    taken: Sequence[Seat],
    pictures: Mapping[str, Any] | None = None,
    grown: Callable[[RunFolder, ClassifyRecord], bool] = lambda folder, record: False,
    between: Callable[[], object] = lambda: None,
) -> None:
    """Fix the settings of all judges, or of none.

    Args:
        taken: the judges.
        pictures: as for :meth:`Judge.record`.
        grown: whether a record may take the place of the one that a folder has.
        between: called when the settings of all are known to fit, before any is fixed.
    """
    records = [(seat, seat.judge.record(pictures)) for seat in taken]
    claims = [(seat, record, grown(seat.folder, record)) for seat, record in records]
    for seat, record, more in claims:
        seat.folder.check(record, more)
    between()
    for seat, record, more in claims:
        seat.folder.claim(record, more)
        seat.judge.keep_validation(seat.folder)


def fail(taken: Sequence[Seat], seat: Seat, error: DataError) -> None:
    """A judge cannot go on: it costs its own labels; or, where there is no other judge left, the error is raised."""
    seat.failed = str(error)
    if all(other.failed for other in taken):
        raise error


def close(taken: Sequence[Seat], tell: Tell) -> None:
    """Record which judges failed, and say so."""
    for seat in taken:
        seat.folder.put(failed=seat.failed)
        if seat.failed:
            tell(
                f"the judge {printable(seat.judge.name)} failed and has no whole table of labels: {seat.failed}; the "
                "others have theirs, and the same command tries it again"
            )
