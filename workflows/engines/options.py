"""How a run is carried out: nothing here decides a label."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.errors import UsageError


@dataclass(frozen=True)
class EngineOptions:
    """How the shards of a run are done.

    Attributes:
        engine: ``local`` or ``ray``.
        workers: processes (local) or generating actors (Ray). None: this process alone, or all that the cluster holds.
        address: of a Ray cluster: ``local`` starts one here, ``auto`` finds the one that this machine belongs to,
            ``ray://HOST:PORT`` goes there as a client; None takes ``RAY_ADDRESS`` or else ``local``.
        gpus_per_worker: 0 for none, up to 1 for a whole one; None: 1 where the cluster has GPUs.
        pictures: which are kept, see :meth:`KeptPictures.parse`.
        storage: a URI (``s3://``, ``gs://``, ``file://`` ...) where the whole run folder is kept as well; pictures only
            there.

    Raises:
        UsageError: an unknown engine, or options of Ray for another engine.
    """

    engine: str = "local"
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None
    pictures: str | None = None
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
