"""One shard of a run, the unit of all work: its faces are made, prepared, judged, and become one Parquet part.

The functions are pure but for the pictures that they keep: the same task gives the same part and the same files,
whoever does it and however often. So every engine may lose workers, do a task twice or do it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.faces import Preparation
from ...data.images import fast_png
from ...runtime.errors import DataError
from ..background import PictureWriter
from ..run_folder.faces import Face, FacePlan
from ..run_folder.labels import part_bytes
from ..run_folder.pictures import KeptPictures, tar_bytes, tar_name
from ..run_folder.records import ClassifyRecord, GenerateRecord
from ..run_folder.seeds import shard_size
from ..run_folder.store import Store
from ..steps.classify import ClassifyOptions, Judge
from ..steps.generate import FaceMaker, GenerateOptions, make_faces


@dataclass(frozen=True)
class Job:
    """Everything that a worker must know to do any shard of a run.

    Attributes:
        generate, classify: the options of the two steps.
        preparation: of the faces that are judged.
        made, judged: the records of both, as the one who gave the job found them; a worker with other networks refuses.
        kept: which pictures are kept.
        store: path or URI of the run folder to which they go.
    """

    generate: GenerateOptions
    classify: ClassifyOptions
    preparation: Preparation
    made: GenerateRecord
    judged: ClassifyRecord
    kept: KeptPictures
    store: str


@dataclass(frozen=True)
class Task:
    """What there is to do of a shard.

    Attributes:
        number: of the shard.
        label: whether its labels are missing.
        files: the missing files in ``faces/``.
    """

    number: int
    label: bool
    files: tuple[str, ...]


class Maker:
    """A loaded generator that does the first half of shards.

    Args:
        job: what to do.
        faces: a loaded generator to use; None loads one.
        held: called with the name and the picture, uint8 [H, W, C], of each face that is made.
    """

    def __init__(
        self, job: Job, faces: FaceMaker | None = None, held: Callable[[str, np.ndarray], None] | None = None
    ) -> None:
        self.job = job
        self.maker = faces or FaceMaker(job.generate)
        _check("generator", job.made.differences(self.maker.record))
        self._store, self._writer, self._held = Store(job.store), PictureWriter(), held

    def __call__(self, task: Task) -> np.ndarray:
        """Make the faces of a shard and keep their pictures; when it returns, they are on disk.

        Returns:
            uint8 [N, *shape], the prepared faces of the whole shard, none where no labels are missing.
        """
        faces, preparation = shard_faces(self.maker.faces, task.number), self.job.preparation
        files = set(task.files)
        tar = tar_name(task.number) in files
        todo = faces if task.label or tar else [face for face in faces if face.name in files]
        pictures = []
        for face, picture in make_faces(self.maker, todo, self._writer, self._keep, files):
            if self._held:
                self._held(face.name, picture)
            pictures.append(picture)
        if tar:
            self._store.write(f"faces/{tar_name(task.number)}", tar_bytes(todo, np.stack(pictures)))
        prepared = preparation.prepare(pictures) if task.label else preparation.none()
        self._writer.flush()
        return prepared

    def _keep(self, name: str, picture: np.ndarray) -> None:
        self._store.write(f"faces/{name}", fast_png(picture))


class Labeller:
    """A loaded classifier that does the second half of shards. ``judge``: a loaded one to use; None loads one."""

    def __init__(self, job: Job, judge: Judge | None = None) -> None:
        self.judge = judge or Judge(job.classify)
        _check("classifier", job.judged.differences(self.judge.record()))

    def __call__(self, faces: Sequence[Face], prepared: np.ndarray) -> bytes:
        """The Parquet part of a shard, of its prepared faces, uint8 [N, *shape]."""
        return part_bytes(self.judge.label(faces, prepared))


def shard_faces(plan: FacePlan, number: int) -> list[Face]:
    """The faces of a shard of a run."""
    size = shard_size(len(plan))
    return plan[number * size : (number + 1) * size]


class ShardWorker:
    """Generator and classifier in one: tasks in, parts out."""

    def __init__(self, job: Job, make: Maker | None = None, label: Labeller | None = None) -> None:
        self.make, self.label = make or Maker(job), label or Labeller(job)

    def __call__(self, task: Task) -> bytes | None:
        """The Parquet part of a shard; None where only pictures were missing."""
        prepared = self.make(task)
        return self.label(shard_faces(self.make.maker.faces, task.number), prepared) if task.label else None


def _check(what: str, differing: Iterable[str]) -> None:
    if differing := list(differing):
        raise DataError(
            f"a worker has another {what} than the run ({', '.join(differing)}); install the same fergan everywhere "
            "and give files by a path that all machines share"
        )
