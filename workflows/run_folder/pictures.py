"""The pictures of a run: which are kept, where each lies, and how they are read again for the page."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from ...data.image_source import ImageSource
from ...data.images import fast_png, read_image
from ...reports.statistics.table import LabelTable
from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from .faces import Face, FacePlan
from .folder import RunFolder
from .seeds import shard_size
from .store import Store, whole_pictures

Picture = np.ndarray


class FaceReader:
    """The judged pictures of a run by name: its own faces, or those that ``classify --images`` was given.

    Called with a name it returns uint8 [H, W] or [H, W, 3]; a DataError where the picture is gone.
    """

    def __init__(self, run: RunFolder, held: Mapping[str, Picture] | None = None) -> None:
        """``held``: pictures that are still in memory; others are read from disk."""
        self.run, self.held = run, held or {}
        self._tar: tuple[int, list[bytes]] = -1, []  # the last one read, by its shard

    def __call__(self, name: str) -> Picture:
        picture = self.held[name] if name in self.held else self._read(name)
        return picture[:, :, 0] if picture.shape[2:] == (1,) else picture

    @cached_property
    def _read(self) -> Callable[[str], Picture]:
        judged = self.run.classify
        if judged and judged.images is not None:
            return ImageSource(judged.images).read
        return self._own

    def _own(self, name: str) -> Picture:
        if Path(name).name != name:  # a table that somebody else wrote must not reach out of the folder
            raise DataError(f"{printable(name)}: is not a name of a picture in {printable(self.run.faces)}")
        path = self.run.faces / name
        kept = self.run.record.images
        made = self.run.generate
        if kept == "tar" and made and not path.exists():
            return read_image(self._member(FacePlan.of(made), name), name=name)
        if path.exists() or self.run.record.storage is None:
            if kept not in (None, "all") and not path.exists():
                raise DataError(
                    f"{printable(path)}: its picture was not kept (--pictures {printable(kept)}); "
                    "give 'fergan run' again with --pictures all"
                )
            return read_image(path)
        return read_image(self._store.read(f"faces/{name}"), name=name)

    def _member(self, plan: FacePlan, name: str) -> bytes:
        number, place = divmod(plan.place(name), shard_size(len(plan)))
        if self._tar[0] != number:
            self._tar = number, tar_members(self._store.read(f"faces/{tar_name(number)}"))
        try:
            return self._tar[1][place]
        except IndexError:
            raise DataError(f"{tar_name(number)}: lacks {printable(name)}; delete it and run again") from None

    @cached_property
    def _store(self) -> Store:
        return Store(self.run.record.storage or self.run.path)


def kept_rows(run: RunFolder, table: LabelTable) -> Sequence[int] | None:
    """Rows of the faces whose pictures were kept, ascending, an empty list where none were; None where all were."""
    asked, made = run.record.images, run.generate
    if asked is None or made is None:
        return None
    plan = FacePlan.of(made)
    kept = KeptPictures.parse(asked, len(plan))
    if kept.mode in ("all", "tar"):
        return None
    rows = kept.rows(len(plan))
    if len(table) == len(plan):
        return rows
    wanted = {plan[row].name for row in rows}
    return [row for row, name in enumerate(table.faces) if name in wanted]


def lost_faces(run: RunFolder, plan: FacePlan) -> list[Face]:
    """The faces of a run whose pictures are missing, empty or cut short. Raises DataError."""
    whole = whole_pictures(run.faces)
    if run.record.storage is not None:
        whole |= Store(run.record.storage).pictures()
    size, tars = shard_size(len(plan)), run.record.images == "tar"
    return [
        face
        for row, face in enumerate(plan)
        if face.name not in whole and not (tars and tar_name(row // size) in whole)
    ]


def preparer(run: RunFolder) -> Callable[[Picture], Picture] | None:
    """The preparation that the run's classifier saw, picture by picture; None where the run does not tell it."""
    preparation = run.classify.preparation() if run.classify else None
    if preparation is None:
        return None
    return lambda picture: preparation.prepare([picture])[0]


FILES = 100_000
"""Up to so many faces each gets a PNG unless asked otherwise; of larger runs a sample is kept."""


SAMPLE = 1000


@dataclass(frozen=True)
class KeptPictures:
    """Which pictures of a run are kept, and how.

    Attributes:
        mode: ``all``, a PNG a face; ``none``; ``sample``, the PNGs of ``count`` faces spread evenly over the run; or
            ``tar``, all of them as one WebDataset tar a shard.
        count: of a sample.
    """

    mode: str = "all"
    count: int = 0

    @classmethod
    def parse(cls, text: str | None, n: int) -> KeptPictures:
        """``all``, ``none``, ``tar`` or ``sample:1000``; None chooses by the size ``n`` of the run.

        Raises:
            UsageError: anything else.
        """
        if text is None:
            return cls() if n <= FILES else cls("sample", SAMPLE)
        if text in ("all", "none", "tar"):
            return cls(text)
        match = re.fullmatch(r"sample:(\d{1,9})", text)
        if not match or not int(match[1]):
            raise UsageError(f"--pictures {text!r} is none of all, none, tar and sample:COUNT, such as sample:1000")
        return cls("sample", min(int(match[1]), n)) if int(match[1]) < n else cls()

    def __str__(self) -> str:
        return f"sample:{self.count}" if self.mode == "sample" else self.mode

    def rows(self, n: int) -> range | list[int]:
        """Indices of the faces of a run of ``n`` whose pictures are kept, ascending."""
        if self.mode == "sample":
            return [-(-i * n // self.count) for i in range(self.count)]
        return range(0 if self.mode == "none" else n)

    def files(self, number: int, start: int, faces: Sequence[Face], n: int) -> list[str]:
        """The files in ``faces/`` that a shard leaves: of a run of ``n`` faces, from number ``start``."""
        if self.mode == "tar":
            return [tar_name(number)]
        if self.mode == "sample":
            return [face.name for i, face in enumerate(faces, start) if i * self.count % n < self.count]
        return [face.name for face in faces] if self.mode == "all" else []


def tar_name(number: int) -> str:
    """``faces-000012.tar``: the pictures of shard 12."""
    return f"faces-{number:06d}.tar"


def tar_members(content: bytes) -> list[bytes]:
    """The files in a tar, in order. Raises DataError."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            return [file.read() for member in tar if (file := tar.extractfile(member))]
    except tarfile.TarError as error:
        raise DataError("a tar of pictures is damaged; delete it and run again") from error


class PictureTar:
    """Pictures as a WebDataset shard: a tar of PNGs, the same bytes for the same pictures."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, face: Face, picture: Picture) -> None:
        """Put in a picture, uint8 [H, W, C]."""
        content = fast_png(picture)
        # WebDataset takes what comes before the first dot for the key: seed0042_psi0.70 would be cut
        path = PurePosixPath(face.name)
        member = tarfile.TarInfo(path.stem.replace(".", "_") + path.suffix)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def finish(self) -> bytes:
        """The whole tar; nothing can be added after it."""
        self._tar.close()
        return self._buffer.getvalue()
