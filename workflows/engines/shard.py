"""One shard of a run, the unit of all work: its faces are made, prepared, judged, and become one Parquet part.

The functions are pure but for the pictures that they keep: the same task gives the same part and the same files,
whoever does it and however often. So every engine may lose workers, do a task twice or do it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.faces import Preparation
from ...data.images import fast_png
from ...data.run_record.settings import ClassifyRecord, GenerateRecord
from ...runtime.errors import DataError
from ..background import PictureWriter
from ..run_folder.faces import Face, FacePlan
from ..run_folder.labels import part_bytes
from ..run_folder.pictures import KeptPictures, PictureTar, tar_name
from ..run_folder.seeds import shard_size
from ..run_folder.store import Store
from ..steps.generate import FaceMaker, GenerateOptions, make_faces, refuse_other
from ..steps.judge import ClassifyOptions, Judge, Views, label_shard, prepare_each


@dataclass(frozen=True)
class Job:
    """Everything that a worker must know to do any shard of a run.

    Attributes:
        generate: the options of the first step.
        judges: the options of each judge.
        preparations: of the faces that each judge sees.
        made, judged: the records of the generator and of each judge, as the one who gave the job found them; a worker
            with other networks refuses.
        kept: which pictures are kept.
        store: path or URI of the run folder to which they go.
    """

    generate: GenerateOptions
    judges: tuple[ClassifyOptions, ...]
    preparations: tuple[Preparation, ...]
    made: GenerateRecord
    judged: tuple[ClassifyRecord, ...]
    kept: KeptPictures
    store: str

    def worker(self) -> ShardWorker:
        """A loaded worker of this job."""
        return ShardWorker(self)


@dataclass(frozen=True)
class Task:
    """The work that is left of a shard.

    Attributes:
        number: of the shard.
        judges: numbers of the judges whose labels are missing.
        files: the missing files in ``faces/``.
    """

    number: int
    judges: tuple[int, ...]
    files: tuple[str, ...]


Parts = dict[int, bytes | str]
"""By the number of a judge the Parquet part of its labels, or why it could not make one."""

Results = Generator[tuple[Task, Parts]]
"""Tasks as they are done, each with the parts of the judges who were to label."""


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
        refuse_other("generator", job.made.differences(self.maker.record))
        self._store, self._writer, self._held = Store(job.store), PictureWriter(), held

    def __call__(self, task: Task) -> Views:
        """Make the faces of a shard and keep their pictures; when it returns, they are on disk.

        Returns:
            The prepared faces of the whole shard, in no way where no labels are missing.
        """
        faces, files = shard_faces(self.maker.faces, task.number), set(task.files)
        tar = PictureTar() if tar_name(task.number) in files else None
        todo = faces if task.judges or tar else [face for face in faces if face.name in files]
        pictures = self._draw(todo, files, tar)
        prepared = prepare_each(pictures, (self.job.preparations[number] for number in task.judges))
        if tar:
            self._store.write(f"faces/{tar_name(task.number)}", tar.finish())
        self._writer.flush()
        return prepared

    def _draw(self, faces: Sequence[Face], files: set[str], tar: PictureTar | None) -> Iterator[np.ndarray]:
        for face, picture in make_faces(self.maker, faces, self._writer, self._keep, files):
            if self._held:
                self._held(face.name, picture)
            if tar:
                tar.add(face, picture)
            yield picture

    def _keep(self, name: str, picture: np.ndarray) -> None:
        self._store.write(f"faces/{name}", fast_png(picture))


class Labeller:
    """Loaded judges that do the second half of shards. ``judges``: loaded ones to use; None loads them."""

    def __init__(self, job: Job, judges: Sequence[Judge] | None = None) -> None:
        self.judges = [Judge(options) for options in job.judges] if judges is None else judges
        self._failed: dict[int, str] = {}
        for judge, record in zip(self.judges, job.judged, strict=True):
            refuse_other("classifier", record.differences(judge.record()))

    def __call__(self, task: Task, faces: Sequence[Face], prepared: Views) -> Parts:
        """The Parquet parts of a shard, of its prepared faces; a judge that failed is not asked again.

        Raises:
            DataError: the only judge fails.
        """
        parts: Parts = {}
        asked = [number for number in task.judges if number not in self._failed]
        answers = label_shard((self.judges[number] for number in asked), faces, prepared)
        for number, table in zip(asked, answers, strict=True):
            if not isinstance(table, DataError):
                parts[number] = part_bytes(table)
            elif len(self.judges) == 1:
                raise table
            else:
                self._failed[number] = str(table)
        return parts | {number: self._failed[number] for number in task.judges if number in self._failed}


def shard_faces(plan: FacePlan, number: int) -> list[Face]:
    """The faces of a shard of a run."""
    size = shard_size(len(plan))
    return plan[number * size : (number + 1) * size]


class ShardWorker:
    """Generator and classifier in one: tasks in, parts out."""

    def __init__(self, job: Job, make: Maker | None = None, label: Labeller | None = None) -> None:
        self.make, self.label = make or Maker(job), label or Labeller(job)

    def __call__(self, task: Task) -> Parts:
        """The Parquet parts of a shard; none where only pictures were missing."""
        prepared = self.make(task)
        return self.label(task, shard_faces(self.make.maker.faces, task.number), prepared)
