"""Which versions of which models are served, and how that changes while the server runs.

A model is a file, served as version 1 for good, or a base folder whose subfolders with integer names are its versions,
as TensorFlow Serving lays them out. The newest are served. A new folder is opened beside the old one, takes its place,
and the old one goes when its last request has been answered. A folder that cannot be opened is left out, and tried
again when its files change.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, UsageError
from .batching import Batcher
from .counters import Counters
from .refusal import Refusal
from .servable import Servable, open_servable
from .settings import ServeSettings

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of the files in a folder."""
_LARGEST = 2**63 - 1


@dataclass(eq=False)
class Version:
    """One version of a model, in one of TensorFlow Serving's states.

    Attributes:
        number: of the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        code, message: why it is not available; OK and "" otherwise.
        users: requests that it is answering.
    """

    number: int
    source: str | Path
    state: str = "START"
    code: str = "OK"
    message: str = ""
    users: int = 0
    stamp: _Stamp | None = None
    settled: bool = False
    _servable: Servable | None = field(default=None, repr=False)
    _batcher: Batcher | None = field(default=None, repr=False)

    @property
    def servable(self) -> Servable:
        assert self._servable is not None
        return self._servable

    @property
    def batcher(self) -> Batcher:
        assert self._batcher is not None
        return self._batcher

    def start(self, servable: Servable, batcher: Batcher) -> None:
        self._servable, self._batcher = servable, batcher
        self.state, self.code, self.message = "AVAILABLE", "OK", ""

    def retire(self) -> None:
        """No new requests; the model goes when the last one is answered."""
        if self.state == "AVAILABLE":
            self.state = "UNLOADING"
        if self.state == "UNLOADING" and not self.users:
            self.batcher.close()
            self._servable = self._batcher = None
            self.state = "END"

    def as_proto(self) -> dict[str, Any]:
        """A ``ModelVersionStatus`` message in JSON."""
        status = {"error_code": self.code, "error_message": self.message}
        return {"version": str(self.number), "state": self.state, "status": status}


class Repository:
    """The models of a server. All methods belong to the event loop's thread."""

    def __init__(self, settings: ServeSettings, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        from ...classify.classifier import BATCH
        from ...runtime.devices import choose_device

        device = choose_device(settings.device).type
        self._workers = settings.workers or _suitable_workers(device)
        self._max_batch = settings.max_batch or BATCH[device]
        self._network, self._loader = _threads(self._workers, "network"), _threads(1, "loader")
        self._models: dict[str, dict[int, Version]] = {name: {} for name in settings.models}
        self._watcher: asyncio.Task[None] | None = None
        for name, label in settings.labels:
            if name not in settings.models:
                raise UsageError(f"--label {name}:{label}: there is no --model {name}")
        for name, path in settings.models.items():
            counters.watch_queue(name, partial(self._queued, name))
            if not is_base_folder(path):
                self._models[name][1] = Version(1, path)

    # What requests ask for

    @asynccontextmanager
    async def hold(self, name: str, number: int | None = None, label: str | None = None) -> AsyncIterator[Version]:
        """A version to answer a request with, which stays until then.

        Raises:
            Refusal: there is no such model, version or label.
        """
        version = self._find(name, number, label)
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            if version.state == "UNLOADING":
                version.retire()

    def _find(self, name: str, number: int | None, label: str | None) -> Version:
        if label is not None:
            number = self.labelled(name, label)
        versions = self._models.get(name, {})
        if number is None:
            available = [v.number for v in versions.values() if v.state == "AVAILABLE"]
            wanted, asked = max(available, default=None), f"Latest({name})"
        else:
            wanted, asked = number, f"Specific({name}, {number})"
        version = versions.get(wanted) if wanted is not None else None
        if version is None or version.state != "AVAILABLE":
            raise Refusal(f"Servable not found for request: {asked}", "NOT_FOUND")
        return version

    def labelled(self, name: str, label: str) -> int:
        """The version that a label stands for."""
        try:
            return self._settings.labels[name, label]
        except KeyError:
            raise Refusal(f"Unrecognized servable version label: {label}") from None

    def status(self, name: str, number: int | None = None) -> list[Version]:
        """The versions of a model that are, or were, served; the newest first."""
        versions = self._models.get(name, {})
        if number is not None:
            if number not in versions:
                raise Refusal(f"Could not find version {number} of model {name}", "NOT_FOUND")
            return [versions[number]]
        if not versions:
            raise Refusal(f"Could not find any versions of model {name}", "NOT_FOUND")
        return sorted(versions.values(), key=lambda version: version.number, reverse=True)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._models)

    @property
    def ready(self) -> bool:
        return all(any(v.state == "AVAILABLE" for v in versions.values()) for versions in self._models.values())

    def _queued(self, name: str) -> float:
        return sum(v.batcher.queued for v in self._models[name].values() if v.state in ("AVAILABLE", "UNLOADING"))

    # How they come and go

    async def start(self) -> None:
        """Open every model, then watch the folders.

        Raises:
            DataError: a model has no version that can be opened.
        """
        for name, path in self._settings.models.items():
            await self._update(name, wait=False)
            if not any(version.state == "AVAILABLE" for version in self._models[name].values()):
                failed = [version.message for version in self.status(name)] if self._models[name] else []
                raise DataError(failed[0] if failed else f"{path}: holds no folder with a version number, such as 1")
        if any(is_base_folder(path) for path in self._settings.models.values()):
            self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        for versions in self._models.values():
            for version in versions.values():
                version.users = 0
                version.retire()
        self._network.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll)
            for name in self._models:
                try:
                    await self._update(name)
                except Exception:
                    _log.exception("looking for new versions of %s failed", name)

    async def _update(self, name: str, wait: bool = True) -> None:
        """Open the newest versions that are there and can be opened; let go of the others."""
        versions = self._models[name]
        loop = asyncio.get_running_loop()
        if is_base_folder(self._settings.models[name]):
            found = await loop.run_in_executor(self._loader, _scan, Path(self._settings.models[name]))
            if not found:
                return  # the folder is gone, or being replaced: what is loaded goes on
            self._note(versions, found, wait)
            for number in [n for n, v in versions.items() if n not in found and v.state in ("START", "END")]:
                del versions[number]
        else:
            found = {1: (Path(), ())}
            versions[1].settled = True
        labelled = {number for (model, _), number in self._settings.labels.items() if model == name}
        wanted: set[int] = set()
        newest = 0
        for number in sorted(found, reverse=True):
            if newest >= self._settings.versions and number not in labelled:
                continue
            version = versions[number]
            if version.state in ("START", "END") and version.settled and version.code == "OK":
                await self._open(name, version)
            if version.state == "AVAILABLE":
                wanted.add(number)
                newest += newest < self._settings.versions
        if wanted:
            for version in list(versions.values()):
                if version.number not in wanted and version.state == "AVAILABLE":
                    _log.info("%s: version %d is being unloaded", name, version.number)
                    version.retire()

    @staticmethod
    def _note(versions: dict[int, Version], found: dict[int, tuple[Path, _Stamp]], wait: bool) -> None:
        """Write down what was found. A folder is settled when two looks see the same: it may be being copied."""
        for number, (folder, stamp) in found.items():
            version = versions.setdefault(number, Version(number, folder))
            if version.stamp != stamp:
                version.settled = not wait
                if version.state in ("START", "END"):
                    version.code, version.message = "OK", ""  # worth another try
            else:
                version.settled = True
            version.stamp = stamp

    async def _open(self, name: str, version: Version) -> None:
        version.state = "LOADING"
        loop = asyncio.get_running_loop()
        try:
            servable = await loop.run_in_executor(
                self._loader, open_servable, version.source, self._settings.device, self._settings.max_pixels
            )
        except Exception as error:
            if not isinstance(error, DataError | UsageError):
                _log.exception("%s: version %d", name, version.number)
            version.state, version.code, version.message = "END", "UNKNOWN", str(error) or type(error).__name__
            _log.warning("%s: version %d is left out: %s", name, version.number, version.message)
            return
        batcher = Batcher(
            self._network,
            workers=self._workers,
            max_batch=self._max_batch,
            wait=self._settings.batch_wait,
            max_queue=self._settings.max_queue,
            observe=self._counters.batch_observer(name),
        )
        version.start(servable, batcher)
        _log.info("%s: version %d is served", name, version.number)


def is_base_folder(path: str) -> bool:
    """Whether a model's path is a folder of version folders; as for ``load_classifier``, bundled names come first."""
    from ...classify.bundled import bundled_classifier

    return not bundled_classifier(path) and Path(path).is_dir()


def _suitable_workers(device: str) -> int:
    """Batches that go through networks at once: one for each core, or one where a GPU does the work.

    Each has one core to itself. torch would rather split every operation of one batch among the cores, and there all
    wait for the slowest: a client on the same machine that takes a core for a moment stops the whole network then.
    """
    if device != "cpu":
        return 1
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def _threads(count: int, name: str) -> ThreadPoolExecutor:
    """Threads in which torch uses one core."""
    import torch

    return ThreadPoolExecutor(count, name, torch.set_num_threads, (1,))


def _scan(base: Path) -> dict[int, tuple[Path, _Stamp]]:
    """The version folders in a base folder, with what would change if they did."""
    found = {}
    try:
        folders = [folder for folder in base.iterdir() if re.fullmatch("[0-9]+", folder.name) and folder.is_dir()]
    except OSError:
        return {}
    for folder in folders:
        number = int(folder.name)
        if number > _LARGEST:
            continue
        try:
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            stamp = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        except OSError:  # went away under our eyes
            continue
        found[number] = (folder, stamp)
    return found
