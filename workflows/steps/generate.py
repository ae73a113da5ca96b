"""Step one: seeds, or styles that were found some other way, become pictures in the run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ...data.images import write_png
from ...data.labels import canonical_label
from ...data.run_record.settings import STEPS, GenerateRecord, Steering, parse_quotas
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable
from ...stylegan.directions import Direction
from ...stylegan.drawing import Drawing
from ...stylegan.generator import Generator
from ..background import PictureWriter
from ..progress import OnProgress, no_progress
from ..run_folder.faces import Face, FacePlan, grows_from
from ..run_folder.folder import RunFolder
from ..run_folder.seeds import format_seeds
from ..run_folder.store import whole_pictures
from .projected import read_projected_w

STEER_AFTER = 2000
"""Seeds that are drawn as they are before others are steered, unless asked otherwise."""


@dataclass(frozen=True)
class GenerateOptions(Drawing):
    """The options of ``generate``.

    Attributes:
        seeds: sorted, each once; not looked at where there is ``projected_w``.
        truncation_cutoff: truncate only so many of the first styles; None for all.
        psi_sweep: make the seeds once for each of these psi, in place of ``truncation_psi``; ascending, each once.
        projected_w: a ``.npz`` of styles to draw in place of seeds; they are not truncated.
        noise_mode: ``const``, ``random`` (seeded by the face's seed) or ``none``.
        edit: directions, each with the strength by which every face is moved.
        edit_sweep: make the seeds once for each of these strengths along the one direction of ``edit``, in place of
            its own; ascending, each once.
        steer: directions that move faces of wanted labels, where drawing alone has not found them all.
        steer_after: seeds from here on are moved.
        chosen: where ``seeds`` are those of wanted faces, how they were chosen, and nothing else.
    """

    seeds: Sequence[int]
    truncation_cutoff: int | None = None
    psi_sweep: tuple[float, ...] | None = None
    projected_w: str | None = None
    noise_mode: str = "const"
    edit: tuple[tuple[Direction, float], ...] = ()
    edit_sweep: tuple[float, ...] | None = None
    steer: tuple[Direction, ...] = ()
    steer_after: int = STEER_AFTER
    chosen: GenerateRecord = GenerateRecord()


class FaceMaker:
    """A loaded generator with its settings: faces of a run in, pictures out.

    Attributes:
        record: everything that decides the pictures.
        faces: all of the run, in order.
        known: by file name pictures that are drawn already.

    Raises:
        DataError: the checkpoint or the file of projected styles cannot be used.
        UsageError: an option does not fit the generator.
    """

    def __init__(self, options: GenerateOptions) -> None:
        self.options = options
        self.known: Mapping[str, np.ndarray] = {}
        self.generator, self.psi = options.open()
        cutoff, styles = options.truncation_cutoff, self.generator.num_ws
        if cutoff is not None and cutoff > styles:
            raise UsageError(f"--psi-cutoff {cutoff}: {self.generator.name} has {styles} styles; give at most {styles}")
        self._offset: np.ndarray | None = None
        for direction, strength in options.edit:
            moved = direction.offset(strength, self.generator)
            self._offset = moved if self._offset is None else self._offset + moved
        self._toward = self._directions()
        self._swept = options.edit[0][0].offset(1, self.generator) if options.edit_sweep else None
        self.class_index: int | None = None
        self._classes = _classes_of(self.generator, options)
        self._projected: tuple[np.ndarray, str] | None = None
        if options.projected_w is not None:
            self._projected = read_projected_w(options.projected_w, self.generator)
        elif not self._classes:  # here, before a run folder takes the settings over
            self.class_index = self.generator.find_class(options.class_index)
        self._settle()

    def _settle(self) -> None:
        self.record = self._record()
        self.faces = FacePlan.of(self.record) if self.record.n else FacePlan(())

    def choosing(self, seeds: Sequence[int]) -> FaceMaker:
        """The same generator for the seeds of wanted faces, as far as they are found."""
        other = copy(self)
        other.options = replace(self.options, seeds=seeds)
        other._settle()
        return other

    def _record(self) -> GenerateRecord:
        options, generator, swept = self.options, self.generator, self.options.edit_sweep
        common: dict[str, Any] = {
            "network": generator.name,
            "sha256": generator.sha256,
            "noise_mode": options.noise_mode,
            "class_index": self.class_index,
            "classes": self._classes or None,
            "resolution": generator.img_resolution,
            "channels": generator.img_channels,
            "licence": generator.metadata.get("licence") or None,
            "edits": tuple(_edit_text(one, None if swept else strength) for one, strength in options.edit) or None,
            "edits_sha256": tuple(one.sha256 or "" for one, _ in options.edit) or None,
            "edit_sweep": swept,
            "edit_toward": options.edit[0][0].label if swept else None,
        }
        if self._projected is not None:
            styles, sha256 = self._projected
            name = printable(Path(options.projected_w or "").name)
            return GenerateRecord(**common, projected_w=name, projected_w_sha256=sha256, n=len(styles))
        return replace(
            options.chosen,
            **common,
            seeds=format_seeds(options.seeds) or None,
            n=len(options.seeds) * len(options.psi_sweep or (1,)) * len(swept or (1,)),
            psi_sweep=options.psi_sweep or None,
            truncation_psi=None if options.psi_sweep else self.psi,
            truncation_cutoff=options.truncation_cutoff,
            **self._steered(),
        )

    def _steered(self) -> dict[str, Any]:
        """The directions of the wanted labels, by the names of the record."""
        if not self._toward:
            return {}
        labels = parse_quotas(self.options.chosen.want or "")
        directions = [self._toward.get(label) for label in labels]
        return {
            "steer": tuple(printable(one.name) if one else "" for one in directions),
            "steer_sha256": tuple(one.sha256 or "" if one else "" for one in directions),
            "steer_after": self.options.steer_after,
            "steer_strengths": STEPS,
        }

    def draw(self, faces: Sequence[Face]) -> Iterator[np.ndarray]:
        """Yield the picture of each face, uint8 [R, R, C]; the generator decides how many it draws at a time."""
        fresh = self._draw([face for face in faces if face.name not in self.known])
        for face in faces:
            known = self.known.get(face.name)
            yield next(fresh) if known is None else known

    def _draw(self, faces: Sequence[Face]) -> Iterator[np.ndarray]:
        if self._projected is not None:
            rows = [face.row or 0 for face in faces]
            styles, noise_seeds = iter(self._projected[0][rows]), rows
        else:
            styles, noise_seeds = self._styles(faces), [face.seed or 0 for face in faces]
        steering = self.record.steering()
        offsets = (self._offset_of(face, steering) for face in faces)
        moved = (w if offset is None else w + offset for w, offset in zip(styles, offsets, strict=True))
        return self.generator.draw(moved, self.options.noise_mode, noise_seeds)

    def _styles(self, faces: Sequence[Face]) -> Iterator[np.ndarray]:
        """The styles of the faces of seeds, in order, before they are moved: float32 [num_ws, w_dim] each."""
        for psi, group in groupby(faces, key=lambda face: face.psi):
            members = list(group)
            yield from self.generator.each_style(
                [face.seed or 0 for face in members],
                self.psi if psi is None else psi,
                self.options.truncation_cutoff,
                [face.class_index for face in members] if self._classes else self.class_index,
            )

    def _offset_of(self, face: Face, steering: Steering | None) -> np.ndarray | None:
        """The step that moves a face: float32 [w_dim] or [num_ws, w_dim]; None where nothing does."""
        if self._swept is not None:
            return np.float32(face.strength or 0) * self._swept
        moved = steering.of(face.seed or 0) if steering else None
        if steering is None or moved is None:
            return self._offset
        direction = self._toward.get(steering.labels[moved[0]])
        return direction.offset(moved[1], self.generator) if direction else None

    def _directions(self) -> dict[str, Direction]:
        """By label the directions that move wanted faces.

        Raises:
            DataError: one is of another network.
            UsageError: two lead to the same label, or none to a wanted one.
        """
        found: dict[str, Direction] = {}
        want = self.options.chosen.want
        for one in self.options.steer if want else ():
            one.offset(1, self.generator)
            if one.label in found:
                raise UsageError(
                    f"--direction {printable(one.name)}: leads to {printable(one.label)}, as "
                    f"{printable(found[one.label].name)} does; give one of them"
                )
            found[one.label] = one
        if found and self.generator.c_dim and self.options.class_index is None:
            raise UsageError(
                f"--steer: {self.generator.name} draws the wanted labels class by class; leave it out, or give --class"
            )
        if found and not any(label in found for label in parse_quotas(want or "")):
            raise UsageError(
                f"--steer: no direction leads to any of {want}, only to {printable(', '.join(found))}; make one by "
                "'fergan direction' and give it with --direction"
            )
        return found


def _edit_text(direction: Direction, strength: float | None) -> str:
    name = printable(direction.name)
    return name if strength is None else f"{name}:{strength:.9g}"


def _classes_of(generator: Generator, options: GenerateOptions) -> tuple[int, ...]:
    """The classes that wanted labels are drawn in, in their order; none where the generator has no classes, or one
    class was asked for.

    Raises:
        UsageError: a label is not a class of the generator.
    """
    want = options.chosen.want
    if not want or not generator.c_dim or options.class_index is not None:
        return ()
    names = [canonical_label(name) for name in generator.class_names]
    labels = parse_quotas(want)
    if missing := [label for label in labels if label not in names]:
        raise UsageError(
            f"--want {printable(missing[0])}: is not a class of {generator.name}, which draws "
            f"{printable(', '.join(names))}; give the class to draw with --class"
        )
    return tuple(names.index(label) for label in labels)


def make_faces(
    maker: FaceMaker,
    faces: Sequence[Face],
    writer: PictureWriter,
    keep: Callable[[str, np.ndarray], None],
    wanted: Container[str] | None = None,
) -> Iterator[tuple[Face, np.ndarray]]:
    """Draw faces and have their pictures kept; the one loop by which every engine generates.

    Args:
        maker: the generator.
        faces: to draw, in order.
        writer: the thread that keeps pictures beside the drawing; flush it to be sure that they are there.
        keep: called there with a file name and the picture.
        wanted: names of the faces to keep; None for all.

    Yields:
        Each face with its picture, uint8 [R, R, C].
    """
    for face, picture in zip(faces, maker.draw(faces), strict=True):
        if wanted is None or face.name in wanted:
            writer.submit(partial(keep, face.name, picture), picture.nbytes)
        yield face, picture


def missing_faces(run: RunFolder, faces: Sequence[Face]) -> list[Face]:
    """The faces without a whole picture: those that are not there, empty, or cut short."""
    whole = whole_pictures(run.faces)
    return [face for face in faces if face.name not in whole]


def refuse_other(what: str, differing: Iterable[str]) -> None:
    """Refuse, by a DataError, to work for a run with another ``what``, where settings differ."""
    if differing := list(differing):
        raise DataError(
            f"a worker has another {what} than the run ({', '.join(differing)}); install the same fergan everywhere "
            "and give files by a path that all machines share"
        )


def claim_faces(run: RunFolder, record: GenerateRecord) -> None:
    """Fix the settings of a run's faces; more seeds after those of before make the run grow.

    Wanted faces that are still to be found fit every such run of the same settings.

    Raises:
        UsageError: the run was made with other settings.
    """
    before = run.generate
    if record.want and not record.seeds and before:
        record = replace(record, seeds=before.seeds, n=before.n)
    run.claim(record, grown=before is not None and grows_from(record, before))


def generate(
    run: RunFolder, options: GenerateOptions | FaceMaker, on_progress: OnProgress = no_progress
) -> tuple[Path, int]:
    """Make all pictures that are missing; their folder, and how many the run has.

    Args:
        run: whose lock is held.
        options: what to make, or a generator that is loaded with them.

    Raises:
        DataError: the checkpoint cannot be read or a file cannot be written.
        UsageError: the run folder was made with other settings, or an option does not fit the generator.
    """
    started = time.monotonic()
    maker = FaceMaker(options) if isinstance(options, GenerateOptions) else options
    claim_faces(run, maker.record)
    make_folder(run.faces)
    todo = missing_faces(run, maker.faces)
    done = len(maker.faces) - len(todo)
    on_progress(done, len(maker.faces))
    with PictureWriter() as writer:
        for _ in make_faces(maker, todo, writer, lambda name, picture: write_png(run.faces / name, picture)):
            done += 1
            on_progress(done, len(maker.faces))
    if todo:
        run.note("generate", time.monotonic() - started)
    return run.faces, len(maker.faces)
