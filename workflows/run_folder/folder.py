"""A run folder: everything one measurement consists of, and the settings it was made with.

    runs/NAME/run.json            settings of each step, sha256 of the models, versions, hardware, times
              faces/seed0000.png  one picture a seed
              labels/part-*.parquet, labels.csv (up to a million rows), skipped.csv
              validation.npz      the classifier's answers on labelled faces
              selection.json, manifest.csv    of wanted faces: how far the search came, and what it kept
              judges/JUDGE/       the same of each further judge (:mod:`.seats`)
              sensitivity.json    labels under other crops and filters
              audit.html, audit.json    the page of faces that people label, and their answers
              report.html, report.json

A step claims its settings in ``run.json`` before it writes anything. The same settings again mean: do what is missing.
Other settings are refused, so that a folder never holds a mixture.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from ...data.run_record.record import Record
from ...data.run_record.run import FORMAT, JUDGE_ENTRIES, RunRecord, read_run, write_run
from ...data.run_record.settings import ClassifyRecord, GenerateRecord
from ...runtime.claims import changes, locked
from ...runtime.errors import DataError, UsageError
from ...runtime.files import make_folder, printable, remove_leftovers, write_atomically
from ...runtime.version import __version__
from .store import Store

RUNS = Path("runs")
START_OVER = "choose another folder with --run NAME, or give --force to start over"
_FROM_LABELS = {"labels.csv", "skipped.csv", "validation.npz", "sensitivity.json", "report.html", "report.json"}
_OF_FACES = {"selection.json", "manifest.csv", "audit.json", "audit.html"}
PART = re.compile(r"part-(\d{5,})\.parquet")
"""The names of the files that hold a shard's labels."""
_OWN_FACE = re.compile(r"(seed\d{4,}(_(psi|edit)-?[\d.e-]+)?|proj\d{2,})\.png|faces-\d{6,}\.tar")
_VERSIONS_OF = ("torch", "keras", "numpy", "pillow")

R = TypeVar("R", bound=Record)


class RunFolder:
    """One run folder on disk.

    Args:
        name: a plain name is a folder under ``runs/`` of the current folder; anything with a slash is a path, also as
            ``file://``.
        force: start the run over, whatever ``run.json`` says; see :meth:`claim`.

    Attributes:
        starts_over: whether the run is still to be cleared by the first claim.
        storage: where else the run is kept, and cleared when it starts over.

    Raises:
        UsageError: the name is empty.
        DataError: the folder's ``run.json`` is damaged or was written by another version of the format.
    """

    starts_over = False
    storage: Store | None = None

    def __init__(self, name: str | Path, *, force: bool = False) -> None:
        text = str(name).removeprefix("file://")
        if not text.strip():
            raise UsageError("the run has no name; give --run NAME")
        self.path = Path(text) if "/" in text or text in (".", "..") else RUNS / text
        self.name = self.path.resolve().name
        self.starts_over = force
        self._record = RunRecord() if force else self._read()

    @property
    def faces(self) -> Path:
        return self.path / "faces"

    @property
    def labels(self) -> Path:
        return self.path / "labels"

    @property
    def labels_csv(self) -> Path:
        return self.path / "labels.csv"

    @property
    def skipped_csv(self) -> Path:
        return self.path / "skipped.csv"

    @property
    def selection(self) -> Path:
        """How far the search for wanted faces came."""
        return self.path / "selection.json"

    @property
    def manifest(self) -> Path:
        """The wanted faces that were found, with the labels of two judges."""
        return self.path / "manifest.csv"

    @property
    def sensitivity(self) -> Path:
        """The labels of some faces under other crops and filters."""
        return self.path / "sensitivity.json"

    @property
    def audit(self) -> Path:
        """The faces that people are asked about and, once they are there, the answers."""
        return self.path / "audit.json"

    @property
    def audit_page(self) -> Path:
        """The page on which people label faces."""
        return self.path / "audit.html"

    @property
    def validation(self) -> Path:
        """The classifier's answers to labelled faces, by which the report corrects; absent where they are not known."""
        return self.path / "validation.npz"

    @property
    def record(self) -> RunRecord:
        """The contents of ``run.json``; without any before the first step."""
        return self._record

    @property
    def generate(self) -> GenerateRecord | None:
        """The settings with which the faces were drawn, or None. Raises DataError where they are damaged."""
        return self._settings(GenerateRecord)

    @property
    def classify(self) -> ClassifyRecord | None:
        """The settings with which the faces were judged, or None. Raises DataError where they are damaged."""
        return self._settings(ClassifyRecord)

    def _settings(self, kind: type[R]) -> R | None:
        if kind.entry not in self.record.values:
            return None
        try:
            return kind.from_json(self.record.values[kind.entry])
        except DataError as error:
            raise DataError(f"{printable(self._file)}: {error}; {START_OVER}") from error

    def check(self, record: Record, grown: bool = False) -> None:
        """Check that the settings of a step are those of before, if there are any.

        Args:
            record: of the step.
            grown: whether this is the same step with more faces, so that its record takes the place of the older one.

        Raises:
            UsageError: the step was run with other settings; the message names each difference.
        """
        found = self._settings(type(record))
        differing = {} if found is None or grown else found.differences(record)
        if differing:
            raise UsageError(
                f"{printable(self.path)} holds a '{record.entry}' with other settings ({changes(differing)}); "
                f"give those of before to go on, {START_OVER}"
            )

    def claim(self, record: Record, grown: bool = False) -> None:
        """Fix the settings of a step, or check that they are those of before; see :meth:`check`.

        With ``force``, the first claim deletes what fergan left in the folder: by then a step has loaded all it needs.
        """
        self.check(record, grown)
        if self.starts_over:
            self.clear(faces=True)
            self.starts_over = False
        if self._settings(type(record)) is None or grown:
            self.put(**{record.entry: record})

    def clear(self, *, faces: bool) -> None:
        """Forget the labels and what was made of them, and the faces too if ``faces``; only files of fergan's go.

        Raises:
            DataError: a file cannot be deleted.
        """
        for store in (self.storage, Store(self.path)):
            if store is not None:
                store.remove(list(_made_by_us(store, faces)))
        if faces:
            self._record = RunRecord()
        self.put(**dict.fromkeys((*JUDGE_ENTRIES, "judges")))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other fergan process out of the folder, and clear away what a killed one left half-written.

        The operating system drops the lock when its process ends, however it ends.

        Raises:
            UsageError: another process holds the lock.
        """
        make_folder(self.path)

        def work() -> str:
            return f"on this run{self._holder()}; wait for it, or choose another folder with --run NAME"

        with locked(self.path, work):
            holder = {
                "pid": os.getpid(),
                "host": platform.node(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_atomically(self._holder_file, json.dumps(holder).encode())
            self._remove_leftovers()
            if not self.starts_over:
                self.reread()
            try:
                yield
            finally:
                self._remove_leftovers()  # of workers that were killed while this process went on

    def _remove_leftovers(self) -> None:
        remove_leftovers(self.faces)
        for place in self._label_places():
            remove_leftovers(place)
            remove_leftovers(place / "labels")

    def _label_places(self) -> list[Path]:
        """The folders that hold labels: the run's own first, then those of further judges."""
        return [self.path, *sorted(path for path in self.path.glob("judges/*") if path.is_dir())]

    @property
    def _holder_file(self) -> Path:
        return self.path / ".lock.json"

    def _holder(self) -> str:
        """Who holds the lock, for a message; what a process that is gone left there is never asked for."""
        try:
            found = json.loads(self._holder_file.read_bytes())
            return printable(f" (process {found['pid']} on {found['host']}, since {found['since']})")
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return ""

    def reread(self) -> None:
        """Take ``run.json`` as it is on disk now."""
        self._record = self._read()

    def put(self, **entries: Any) -> None:
        """Record entries of :class:`RunRecord`, or drop them (None); what is there is not written anew."""
        self.keep(self.record.changed(**entries))

    def keep(self, record: RunRecord) -> None:
        """Write ``run.json`` anew, unless it says the same."""
        if record.values == self._record.values:
            return
        values = {
            "format": FORMAT,
            "run": self.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **record.values,
            "versions": versions(),
            "hardware": hardware(),
        }
        make_folder(self.path)
        written = RunRecord.of(values)
        write_run(self._file, written)
        self._record = written

    def note(self, step: str, seconds: float) -> None:
        """Add the duration of a finished step."""
        self.put(timings={**(self.record.timings or {}), f"{step}_seconds": round(seconds, 2)})

    @property
    def _file(self) -> Path:
        return self.path / "run.json"

    def _read(self) -> RunRecord:
        return read_run(self._file, START_OVER, "choose another folder with --run NAME") or RunRecord()


def _made_by_us(store: Store, faces: bool) -> Iterator[str]:
    """The files of a run that are made of labels and, if ``faces``, all others of fergan's; ``run.json`` last."""
    for place in ("", *(f"judges/{judge}/" for judge in store.names("judges"))):
        yield from (place + name for name in store.names(place) & _FROM_LABELS)
        yield from (f"{place}labels/{name}" for name in store.names(f"{place}labels") if PART.fullmatch(name))
    if faces:
        yield from (f"faces/{name}" for name in store.names("faces") if _OWN_FACE.fullmatch(name))
        yield from store.names() & _OF_FACES
        yield from store.names() & {"run.json"}


def existing_run(name: str | Path) -> RunFolder:
    """A run that was begun.

    Raises:
        DataError: there is none of this name.
    """
    run = RunFolder(name)
    if not run.record.values:
        raise DataError(f"{printable(run.path)}: there is no such run; 'fergan run' or 'fergan generate' makes one")
    return run


def versions() -> dict[str, str]:
    """Versions of what decides the numbers, without importing any of it."""
    found = {"fergan": __version__, "python": platform.python_version()}
    for package in _VERSIONS_OF:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """Machine, processors and, where torch is loaded anyway, the GPU."""
    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cpus": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
