"""How a run is carried out: nothing here decides a label."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.errors import DataError, UsageError
from ..faces import Face, FacePlan
from ..seeds import shard_size

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
            raise UsageError(f"--images {text!r} is none of all, none, tar and sample:COUNT, such as sample:1000")
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


def tar_member(content: bytes, place: int) -> bytes:
    """The file at a place in a tar. Raises DataError."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            file = tar.extractfile(tar.getmembers()[place])
            return file.read() if file else b""
    except (tarfile.TarError, IndexError) as error:
        raise DataError("a tar of pictures is damaged; delete it and run again") from error


def shard_of(plan: FacePlan, index: int) -> int:
    """The number of the shard that holds a face of a run."""
    return index // shard_size(len(plan))


@dataclass(frozen=True)
class EngineOptions:
    """How the shards of a run are done.

    Attributes:
        engine: ``local`` or ``ray``.
        workers: processes (local) or generating actors (Ray). None: this process alone, or all that the cluster holds.
        address: of a Ray cluster: ``local`` starts one here, ``auto`` finds the one that this machine belongs to,
            ``ray://HOST:PORT`` goes there as a client; None takes ``RAY_ADDRESS`` or else ``local``.
        gpus_per_worker: 0 for none, up to 1 for a whole one; None: 1 where the cluster has GPUs.
        images: see :meth:`KeptPictures.parse`.
        storage: a URI (``s3://``, ``gs://``, ``file://`` ...) where the whole run folder is kept as well; pictures only
            there.

    Raises:
        UsageError: an unknown engine, or options of Ray for another engine.
    """

    engine: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None
    images: str | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise UsageError(f"engine {self.engine!r} is neither local nor ray")
        if self.engine == "local" and (self.address is not None or self.gpus_per_worker is not None):
            raise UsageError("--address and --gpus-per-worker are for --engine ray")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers}: at least one is needed")

    @property
    def here(self) -> bool:
        """Whether this process does the work itself."""
        return self.engine == "local" and (self.workers or 1) == 1
