"""Wanted faces: seeds are drawn in order and judged, and a face is kept while its label is still wanted.

Judging needs no pictures on the disk, and those of faces that are not kept are never written. What a search finds
depends on the seeds alone: it is shared out in pieces of a few seeds, whose results are taken in by their order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...classify.bundled import BEST, DEFAULT
from ...classify.card import family
from ...classify.classifier import Classifier
from ...data.run_record.run import Rate
from ...data.run_record.settings import GenerateRecord, class_of_seed, format_quotas
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable, write_atomically
from ..background import PictureWriter
from ..progress import OnProgress, no_progress
from ..run_folder.faces import Face
from ..run_folder.folder import RunFolder
from ..run_folder.seeds import SHARD, face_name
from ..run_folder.selection import Kept, Scanned, Selection, keep_selection, read_selection
from .generate import FaceMaker, GenerateOptions, claim_faces, generate, refuse_other
from .judge import ClassifyOptions, Judge, prepare

MAX_SEEDS = 100_000
"""Seeds that are tried unless asked otherwise."""

_SAVED = 1.0
"""Seconds between two writings of the state; a killed search loses so much."""


@dataclass(frozen=True)
class WantOptions:
    """Which faces are wanted.

    Attributes:
        want: label -> how many faces, at least 1.
        judge: the classifier that chooses.
        second_judge: name or file of a classifier with no say in the choice, whose labels stand beside; None for
            the best bundled one, or the default where that one chooses.
        min_confidence: the least probability of its label that a face needs, 0 to 1.
        max_seeds: the search ends after so many seeds.
    """

    want: Mapping[str, int]
    judge: ClassifyOptions = ClassifyOptions()
    second_judge: str | None = None
    min_confidence: float = 0.0
    max_seeds: int = MAX_SEEDS


@dataclass(frozen=True)
class SearchJob:
    """Everything that a worker must know to judge seeds.

    Attributes:
        generate: how faces are drawn; its seeds do not count.
        want: the judges.
        made: the record that a worker must find too, or it has other networks.
    """

    generate: GenerateOptions
    want: WantOptions
    made: GenerateRecord

    def worker(self) -> Searcher:
        """A loaded worker of this job."""
        return Searcher(self)


@dataclass(frozen=True)
class SearchTask:
    """Seeds ``start`` .. ``stop - 1``; only faces of the labels ``open`` can still be kept."""

    start: int
    stop: int
    open: tuple[str, ...]

    @property
    def number(self) -> int:
        return self.start // SHARD


Search = Callable[[Iterator[SearchTask]], Generator[tuple[SearchTask, Scanned]]]
"""Who does the tasks: they come back in any order."""


class Judges:
    """The judge that chooses and the one that does not, loaded.

    Raises:
        UsageError: both are the same, or one does not know a wanted label.
    """

    def __init__(self, want: WantOptions, judge: Judge | None = None) -> None:
        self.first = judge or Judge(want.judge)
        chosen = self.first.classifier
        for second in [want.second_judge] if want.second_judge else [BEST, DEFAULT]:
            self.second = Judge(ClassifyOptions(((None, second),), crop=want.judge.crop, device=want.judge.device))
            if self.second.classifier.sha256 != chosen.sha256:
                break
        else:
            raise UsageError(
                f"--second-judge {printable(second)}: is the judge that chooses the faces; its own labels cannot "
                "check it, so give another"
            )
        for option, one in (("--judge", self.first), ("--second-judge", self.second)):
            if missing := [label for label in want.want if label not in one.classifier.labels]:
                raise UsageError(
                    f"--want {printable(missing[0])}: the judge {one.classifier.name} does not know this label, only "
                    f"{', '.join(one.classifier.labels)}; want one of these, or give another {option}"
                )

    @property
    def families(self) -> tuple[set[str], set[str]]:
        """Of the judge that chooses and of the other, see :func:`fergan.classify.card.family`."""
        first, second = self.first.classifier, self.second.classifier
        return family(first.sha256, first.card), family(second.sha256, second.card)

    def chosen(self, want: WantOptions) -> GenerateRecord:
        """The settings that decide the choice, and no others."""
        first, second = self.first.classifier, self.second.classifier
        order = [label for label in first.labels if label in want.want]
        return GenerateRecord(
            want=format_quotas({label: want.want[label] for label in order}),
            judge=first.name,
            judge_sha256=first.sha256,
            judge_crop=want.judge.crop,
            judge_no_face=self.first.no_face,
            judge_view=None
            if not first.foreign
            else json.dumps(
                {**self.first.preparation.as_dict(), "input_range": first.input_range, "labels": first.labels}
            ),
            min_confidence=want.min_confidence or None,
            second_judge=second.name,
            second_judge_sha256=second.sha256,
        )


class Searcher:
    """A generator and two judges: a task in, what they say of its seeds out.

    Args:
        job: what to do.
        maker, judges: loaded ones to use; None loads them.
        held: called with each seed and picture, uint8 [H, W, C], that can be kept.
    """

    def __init__(
        self,
        job: SearchJob,
        maker: FaceMaker | None = None,
        judges: Judges | None = None,
        held: Callable[[int, np.ndarray], None] | None = None,
    ) -> None:
        self.judges = judges or Judges(job.want)
        self.maker = maker or FaceMaker(replace(job.generate, seeds=(), chosen=self.judges.chosen(job.want)))
        refuse_other("generator or judge", job.made.differences(self.maker.record))
        self._least, self._held = np.float32(job.want.min_confidence), held
        self._turns = Selection.of(self.maker.record)

    def __call__(self, task: SearchTask) -> Scanned:
        classes = self.maker.record.classes or ()
        drawn = [
            Face(face_name(seed), seed, class_index=class_of_seed(seed, classes))
            for seed in range(task.start, task.stop)
            if self._turns.asked(seed) in (None, *task.open)
        ]
        if not drawn:
            return Scanned(task.start, task.stop, {}, {})
        seeds = [face.seed or 0 for face in drawn]
        pictures = list(self.maker.draw(drawn))
        first, second = self.judges.first, self.judges.second
        prepared = prepare(pictures, first.preparation)
        answers = first.classifier.predict(prepared.faces)
        good = answers.max(axis=1) >= self._least
        if prepared.found is not None and first.no_face == "skip":
            good &= prepared.found
        said = zip(_named(first.classifier, answers), good, strict=True)
        labels = [(name if fit else None, sure) for (name, sure), fit in said]
        rows = [row for row, (label, _) in enumerate(labels) if label in task.open]
        others: list[tuple[str, float]] = []
        if rows:
            same = second.preparation == first.preparation
            shown = prepared.faces[rows] if same else second.preparation.prepare([pictures[row] for row in rows])
            others = _named(second.classifier, second.classifier.predict(shown))
        if self._held:
            for row in rows:
                self._held(seeds[row], pictures[row])
        return Scanned(
            task.start,
            task.stop,
            dict(zip(seeds, labels, strict=True)),
            {seeds[row]: other for row, other in zip(rows, others, strict=True)},
        )


def _named(classifier: Classifier, answers: np.ndarray) -> list[tuple[str, float]]:
    """Label and confidence of each row of probabilities [N, K]."""
    return [(classifier.labels[int(answer.argmax())], float(answer.max())) for answer in answers]


class Wanted:
    """A search for wanted faces in a run folder, whoever does its tasks.

    Args:
        run: whose lock is held.
        judge: the judge that chooses, where it is loaded already.

    Raises:
        DataError: a network cannot be read.
        UsageError: a judge does not fit, or the run folder was made with other settings.
    """

    def __init__(self, run: RunFolder, options: GenerateOptions, want: WantOptions, judge: Judge | None = None) -> None:
        total = sum(want.want.values())
        if want.max_seeds < total:
            raise UsageError(f"--max-seeds {want.max_seeds}: are fewer than the {total} faces that are wanted")
        if options.steer and options.steer_after >= want.max_seeds:
            raise UsageError(
                f"--steer-after {options.steer_after}: the search ends before that, at --max-seeds {want.max_seeds}; "
                "give fewer"
            )
        self.run, self.want, self.judges = run, want, Judges(want, judge)
        self.maker = FaceMaker(replace(options, seeds=(), chosen=self.judges.chosen(want)))
        claim_faces(run, self.maker.record)
        self.job = SearchJob(options, want, self.maker.record)
        self.selection = read_selection(run, self.maker.record)

    def search(
        self,
        search: Search,
        on_kept: Callable[[Kept], None] = lambda kept: None,
        on_progress: OnProgress = no_progress,
    ) -> FaceMaker:
        """Find the wanted faces, from where an earlier call came to: the generator for the seeds that are kept.

        Raises:
            DataError: none was found, or the state cannot be written.
        """
        selection, total = self.selection, sum(self.want.want.values())
        waiting: dict[int, Scanned] = {}
        last = time.monotonic()
        on_progress(len(selection.kept), total)
        if not selection.open() or selection.seen >= self.want.max_seeds:
            return self._finish()
        with closing(search(self._tasks())) as results:
            for _, scanned in results:
                waiting[scanned.start] = scanned
                while selection.open() and selection.seen in waiting:
                    for kept in selection.add(waiting.pop(selection.seen)):
                        on_kept(kept)
                    on_progress(len(selection.kept), total)
                if not selection.open():
                    break
                if time.monotonic() - last > _SAVED:
                    keep_selection(self.run, self.maker.record, selection)
                    last = time.monotonic()
        return self._finish()

    def here(self, held: dict[int, np.ndarray]) -> Search:
        """A search by this process; ``held`` has the pictures that the last task can keep, by their seeds."""
        searcher = Searcher(self.job, self.maker, self.judges, held.__setitem__)

        def search(tasks: Iterator[SearchTask]) -> Generator[tuple[SearchTask, Scanned]]:
            for task in tasks:
                held.clear()
                yield task, searcher(task)

        return search

    def _tasks(self) -> Iterator[SearchTask]:
        start = self.selection.seen
        while start < self.want.max_seeds and (still := self.selection.open()):
            stop = min(start + SHARD, self.want.max_seeds)
            yield SearchTask(start, stop, still)
            start = stop

    def _finish(self) -> FaceMaker:
        selection = self.selection
        keep_selection(self.run, self.maker.record, selection)
        self.run.put(selected=selection.summary(self.want.max_seeds, *self.judges.families))
        if not selection.kept:
            raise DataError(shortfall(self.run) or "no face was found")
        chosen = self.maker.choosing([one.seed for one in selection.kept])
        write_atomically(self.run.manifest, selection.manifest(" ".join(chosen.record.edits or ())))
        claim_faces(self.run, chosen.record)
        return chosen


def generate_wanted(
    run: RunFolder, options: GenerateOptions, want: WantOptions, on_progress: OnProgress = no_progress
) -> tuple[Path, int]:
    """Find wanted faces and write their pictures, and no others.

    Returns:
        The folder of the pictures, and how many the run has; :func:`shortfall` tells whether some are missing.

    Raises:
        DataError, UsageError: as :class:`Wanted` and :func:`~.generate.generate` say.
    """
    started = time.monotonic()
    wanted = Wanted(run, options, want)
    make_folder(run.faces)
    seen, pictures = wanted.selection.seen, dict[int, np.ndarray]()
    with PictureWriter() as writer:
        maker = wanted.search(
            wanted.here(pictures),
            lambda kept: writer.write(run.faces / face_name(kept.seed), pictures[kept.seed]),
            on_progress,
        )
    found = generate(run, maker)  # what an earlier call kept and did not come to write
    if wanted.selection.seen > seen:
        run.note("generate", time.monotonic() - started)
    return found


def shortfall(run: RunFolder) -> str | None:
    """One line on what a search did not find, and what it would take; None where everything was found."""
    selected = run.record.selected
    if selected is None or selected.filled:
        return None
    parts, turns = [], len(selected.wanted)
    for label, n in selected.wanted.items():
        found, rate, steered = selected.found[label], selected.rates[label], (selected.steered or {}).get(label)
        if found >= n:
            continue
        drawn = f"{rate.n:,} seeds ({_percent(rate)})" if rate.n else "no seeds as they are"
        if steered and steered.n:
            drawn += f" and {steered.n:,} moved towards it ({_percent(steered)})"
            takes = _takes(n, steered, turns, selected.steered_after or 0)
        else:
            takes = _takes(n, rate, turns if selected.by_class else 1)
        parts.append(f"{label}: {found} of {n} found in {drawn}; {takes}")
    return (
        f"{printable(run.path)}: {'. '.join(parts)}. What was found is kept; give the same command with a larger "
        f"--max-seeds than {selected.max_seeds:,} to go on"
    )


def _percent(rate: Rate) -> str:
    share, low, high = (f"{100 * value:.2g}" for value in rate.limits or ())
    return f"{share} %, 95 % interval {low} to {high} %"


def _takes(n: int, rate: Rate, turns: int = 1, after: int = 0) -> str:
    """How many seeds it would take to find ``n``, where one of so many ``turns`` counts, and none before ``after``."""

    def seeds(share: float) -> str:
        return f"{after + turns * n / share:,.0f}"

    share, low, high = rate.limits or (0, 0, 1)
    if not share:
        return f"{n} would take {seeds(high)} seeds or more"
    return f"{n} would take about {seeds(share)} seeds ({seeds(high)} to {seeds(low)})"
