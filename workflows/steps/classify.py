"""Step two: pictures, from the run folder or from anywhere, become labels."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data.image_source import ImageSource
from ...data.run_record.settings import ClassifyRecord
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from ..progress import OnProgress, Tell, no_progress, say_nothing
from ..run_folder.faces import Face, FacePlan
from ..run_folder.folder import RunFolder
from ..run_folder.labels import labelled_names, merge_parts, whole_part, write_part
from ..run_folder.pictures import FaceReader, lost_faces
from ..run_folder.seeds import shards
from .judge import ClassifyOptions, Seat, claim_seats, close, fail, label_shard, open_judges, prepare_each, take_seats


def classify(
    run: RunFolder,
    options: ClassifyOptions,
    on_progress: OnProgress = no_progress,
    tell: Tell = say_nothing,
    force: bool = False,
) -> tuple[Path, int]:
    """Label all pictures that have no label yet, and write ``labels.csv``.

    A picture that cannot be read is skipped and recorded with the reason; so is, where the options say it, one in which
    no face was found. Each picture is read once, whatever the number of judges; a judge that fails costs its own
    labels. ``tell`` gets what a person should know, a line each. With ``force``, what was made of labels before goes
    first, as soon as the judges are loaded.

    Returns:
        The path of the first judge's ``labels.csv`` (beyond a million labels, of the folder of the Parquet parts), and
        how many pictures it skipped.

    Raises:
        DataError: no pictures, some of the run's pictures are missing or damaged, no picture could be judged, the first
            judge failed, or a file cannot be written.
        UsageError: the run folder was classified with other settings.
    """
    started = time.monotonic()
    source = _ForeignPictures(options.images) if options.images else _RunPictures(run)
    judges = open_judges(options)
    if options.images and run.generate:
        raise UsageError(
            f"{printable(run.path)} holds generated faces and --images names others; choose another folder with --run"
        )
    if force:
        run.clear(faces=False)
    seats = take_seats(run, judges, tell)
    claim_seats(seats, source.settings(), lambda folder, record: _grown(folder, record, source))
    worked, count, done = False, 0, 0
    for number, faces in shards(source.faces):
        names = [face.name for face in faces]
        todo = [one for one in seats if not one.failed and not whole_part(one.folder, number, names, source.mended)]
        if todo:
            worked = True
            _label_shard(source, faces, number, todo, seats)
        count, done = count + 1, done + len(faces)
        on_progress(done, len(source.faces))
    skipped = {id(one): merge_parts(one.folder, count) for one in seats if not one.failed}
    close(seats, tell)
    if worked:
        run.note("classify", time.monotonic() - started)
    return _outcome(seats, skipped, source)


def _outcome(
    seats: Sequence[Seat], skipped: Mapping[int, int], source: _RunPictures | _ForeignPictures
) -> tuple[Path, int]:
    first = seats[0]
    if first.failed:
        raise DataError(first.failed)
    folder, lost = first.folder, skipped[id(first)]
    if lost == len(source.faces):
        raise DataError(
            f"{source.place}: none of its {lost} pictures could be judged; see {printable(folder.skipped_csv)}"
        )
    return folder.labels_csv if folder.labels_csv.exists() else folder.labels, lost


def _label_shard(
    source: _RunPictures | _ForeignPictures,
    faces: Sequence[Face],
    number: int,
    todo: Sequence[Seat],
    seats: Sequence[Seat],
) -> None:
    """Read the pictures of a shard once, prepare them once for each kind of face, and have each judge label them."""
    skipped: dict[str, str] = {}
    prepared = prepare_each(_read(source, faces, skipped), (one.judge.preparation for one in todo))
    answers = label_shard((one.judge for one in todo), faces, prepared, skipped)
    for one, table in zip(todo, answers, strict=True):
        if isinstance(table, DataError):
            fail(seats, one, table)
            continue
        write_part(one.folder, number, table)
        one.look(table)


def _read(
    source: _RunPictures | _ForeignPictures, faces: Sequence[Face], skipped: dict[str, str]
) -> Iterator[np.ndarray]:
    """The pictures that can be read; of the others ``skipped`` gets the reason."""
    for face in faces:
        try:
            yield source.read(face.name)
        except DataError as error:
            skipped[face.name] = str(error)


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
        self.faces: Sequence[Face] = (plan := FacePlan.of(made))
        self.read = FaceReader(run)
        if missing := lost_faces(run, plan):
            raise DataError(
                f"{self.place}: {len(missing)} of {len(self.faces)} faces are missing or damaged; "
                "run 'fergan generate' again with the same settings to finish them"
            )

    def settings(self) -> dict[str, Any]:
        return {}

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
