"""Published networks: where they are, what licence they are under, and a download that can be trusted.

None of them comes with fergan. A network is downloaded when it is first asked for by name, after its licence notice,
into the user's cache. NVIDIA publishes no checksums, so a file's SHA-256 is noted when it first arrives and compared
every time afterwards: what is used tomorrow is what was used today.

    ~/.cache/fergan/ffhq-256.pkl         the network, complete
                    ffhq-256.pkl.json    its address, size and SHA-256
                    ffhq-256.pkl.part    a download that broke off, and goes on from there
                    ffhq-256.pkl.from    which file the .part is a part of

Sources: the READMEs of NVlabs/stylegan2, NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3; RFC 9110 sections 13 and 14
for conditional requests and ranges.
"""

import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from .. import __version__
from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable, write_atomically

ATTEMPTS = 5
"""How often in a row a connection may fail without a byte gained before the download is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

MAX_SIZE = 8 * 2**30
_CHUNK = 2**16  # what a broken connection may lose

OnProgress = Callable[[float, float], None]
"""Called with bytes done and bytes in all."""

_NC = "Nvidia Source Code License-NC: non-commercial, for research or evaluation only"
_ADA = "NVIDIA Source Code License: non-commercial, for research or evaluation only"


@dataclass(frozen=True)
class Published:
    """A network that somebody has published.

    Attributes:
        name: what fergan calls it.
        url: of the file.
        resolution: pixels of an edge.
        about: what it draws and how it was trained.
        origin: the repository that it belongs to.
        licence: of the weights, as their publisher states it.
        megabytes: size of the file in 10**6 bytes, about; None where nobody says.
        classes: 0 for an unconditional network.
    """

    name: str
    url: str
    resolution: int
    about: str
    origin: str
    licence: str
    megabytes: int | None = None
    classes: int = 0

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return f"{self.name}.pkl"

    @property
    def notice(self) -> str:
        """What a person should read before the first use."""
        return (
            f"{self.name} is published by {self.origin} under the {self.licence}. "
            "The licence of fergan does not cover it."
        )


def _sg3(
    name: str, file: str, resolution: int, about: str, megabytes: int | None = None, classes: int = 0
) -> Published:
    base = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"
    return Published(name, f"{base}{file}.pkl", resolution, about, "NVlabs/stylegan3", _ADA, megabytes, classes)


def _ada(
    name: str, file: str, resolution: int, about: str, megabytes: int | None = None, classes: int = 0
) -> Published:
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
    origin = "NVlabs/stylegan2-ada-pytorch"
    return Published(name, f"{base}{file}.pkl", resolution, about, origin, _ADA, megabytes, classes)


def _tf2(name: str, file: str, resolution: int, about: str, megabytes: int | None = None) -> Published:
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
    return Published(name, f"{base}{file}.pkl", resolution, about, "NVlabs/stylegan2", _NC, megabytes)


_TRANSFER = "transfer-learning-source-nets/"

ZOO: dict[str, Published] = {
    entry.name: entry
    for entry in (
        _sg3("ffhq-1024", "stylegan2-ffhq-1024x1024", 1024, "FFHQ, aligned faces", 381),
        _sg3("ffhq-512", "stylegan2-ffhq-512x512", 512, "FFHQ, aligned faces"),
        _sg3("ffhq-256", "stylegan2-ffhq-256x256", 256, "FFHQ, aligned faces"),
        _sg3("ffhqu-1024", "stylegan2-ffhqu-1024x1024", 1024, "FFHQ-U, unaligned faces", 381),
        _sg3("ffhqu-256", "stylegan2-ffhqu-256x256", 256, "FFHQ-U, unaligned faces"),
        _sg3("metfaces-1024", "stylegan2-metfaces-1024x1024", 1024, "MetFaces, faces in works of art", 381),
        _sg3("metfacesu-1024", "stylegan2-metfacesu-1024x1024", 1024, "MetFaces-U, unaligned", 381),
        _sg3("celebahq-256", "stylegan2-celebahq-256x256", 256, "CelebA-HQ, aligned faces"),
        _sg3("afhqv2-512", "stylegan2-afhqv2-512x512", 512, "AFHQv2, animal faces"),
        _ada("ffhq", "ffhq", 1024, "FFHQ, the original config-f converted to PyTorch", 381),
        _ada("metfaces", "metfaces", 1024, "MetFaces, transfer learning from FFHQ with ADA", 381),
        _ada("afhqcat", "afhqcat", 512, "AFHQ Cat, from scratch with ADA"),
        _ada("afhqdog", "afhqdog", 512, "AFHQ Dog, from scratch with ADA"),
        _ada("afhqwild", "afhqwild", 512, "AFHQ Wild, from scratch with ADA"),
        _ada("brecahad", "brecahad", 512, "BreCaHAD, histology, from scratch with ADA"),
        _ada("cifar10", "cifar10", 32, "CIFAR-10, class-conditional", classes=10),
        _ada("ffhq-res256", f"{_TRANSFER}ffhq-res256-mirror-paper256-noaug", 256, "FFHQ, config paper256", 296),
        _ada("ffhq-res512", f"{_TRANSFER}ffhq-res512-mirror-stylegan2-noaug", 512, "FFHQ, config stylegan2", 364),
        _ada("ffhq-res1024", f"{_TRANSFER}ffhq-res1024-mirror-stylegan2-noaug", 1024, "FFHQ, config stylegan2", 381),
        _ada(
            "celebahq-res256",
            f"{_TRANSFER}celebahq-res256-mirror-paper256-kimg100000-ada-target0.5",
            256,
            "CelebA-HQ, config paper256 with ADA",
            296,
        ),
        _tf2("ffhq-config-f", "stylegan2-ffhq-config-f", 1024, "FFHQ, the paper's best network (TensorFlow)", 381),
        _tf2("ffhq-config-e", "stylegan2-ffhq-config-e", 1024, "FFHQ, the paper's smaller network (TensorFlow)", 318),
    )
}
"""The published networks that fergan knows by name, those of faces first."""


def default_cache() -> Path:
    """Where downloads are kept: the environment's FERGAN_CACHE, else ``~/.cache/fergan`` (on Linux)."""
    return Path(os.environ.get("FERGAN_CACHE") or platformdirs.user_cache_dir("fergan"))


def cached(name: str, cache: str | os.PathLike[str] | None = None) -> Path | None:
    """The downloaded file of a network, unchecked, or None if it is not there yet."""
    path = _place(_entry(name), cache)
    return path if path.is_file() else None


def fetch(
    name: str,
    cache: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The file of a published network, downloaded if it is not there yet, and checked.

    A download that breaks off goes on where it was, now or at the next call, if the server still has the same file. The
    file gets its name when it is complete. A file that somebody put there by hand is taken like a download.

    Args:
        name: of :data:`ZOO`.
        cache: the folder; None for :func:`default_cache`.
        progress: called while bytes arrive.
        say: told the licence notice before the first use; None writes it to the error stream.

    Raises:
        UsageError: there is no such network.
        DataError: it cannot be downloaded, what comes is no network, or the file is not the one it was before.
    """
    entry = _entry(name)
    path = _place(entry, cache)
    tell = say or _tell
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"waiting for another process that fetches {name}")
            lock.acquire()
    except OSError as error:
        raise DataError(f"{printable(path.parent)}: the cache cannot be written to ({error.strerror})") from error
    try:
        with _disk(path):
            _settle(entry, path, progress or (lambda done, total: None), tell)
    finally:
        lock.release()
    return path


def _settle(entry: Published, path: Path, progress: OnProgress, tell: Callable[[str], None]) -> None:
    """Make sure that ``path`` is there and is what it was; called by one process at a time."""
    known = _read_json(_beside(path, ".json")).get("sha256")
    if known is None and not _beside(path, ".from").exists():
        tell(entry.notice)
    if not path.is_file():
        _Download(entry, path, progress).run(known)
        return
    if known is None:
        kind = _not_a_network(_beginning(path))
        if kind:
            raise DataError(f"{printable(path)}: is {kind}; delete it, fetch {entry.url} by hand and put it there")
        _pin(entry, path, _sha256(path), path.stat().st_size)
        return
    found = _sha256(path)
    if found != known:
        raise DataError(
            f"{printable(path)}: is not the file that was downloaded (SHA-256 {found[:12]}…, was {known[:12]}…), "
            "so it was damaged or replaced; delete it, and it is downloaded again"
        )


@dataclass
class _Download:
    """One file on its way."""

    entry: Published
    path: Path
    progress: OnProgress
    part: Path = field(init=False)
    origin: Path = field(init=False)

    def __post_init__(self) -> None:
        self.part, self.origin = _beside(self.path, ".part"), _beside(self.path, ".from")

    def run(self, known: str | None) -> None:
        """Download, check against the SHA-256 ``known`` from before, and give the file its name."""
        self._receive()
        self._refuse_others(_beginning(self.part))
        found = _sha256(self.part)
        if known is not None and found != known:
            self._forget()
            raise DataError(
                f"{self.entry.url}: is another file than before (SHA-256 {found[:12]}…, was {known[:12]}…), so results "
                f"would change; if that is right, delete {printable(_beside(self.path, '.json'))} and try again"
            )
        _pin(self.entry, self.path, found, self.part.stat().st_size)
        os.replace(self.part, self.path)
        self.origin.unlink(missing_ok=True)

    def _receive(self) -> None:
        """Fill ``.part``, over as many connections as it takes."""
        failures, best, reason = 0, self._have(), ""
        while failures < ATTEMPTS:
            if failures:
                time.sleep(PAUSE * 2 ** (failures - 1))
            try:
                if self._one_connection():
                    return
                reason = "the connection broke off"
            except urllib.error.HTTPError as error:
                if error.code not in (408, 416, 425, 429) and error.code < 500:
                    raise self._given_up(f"the server answered {error.code} {error.reason}") from error
                if error.code == 416:  # the part and the server's file do not fit
                    self._forget()
                reason = f"the server answered {error.code} {error.reason}"
            except (OSError, http.client.HTTPException) as error:  # those of the disk are DataErrors by now
                reason = _short(getattr(error, "reason", None) or error)
            have = self._have()
            failures = 1 if have > best else failures + 1
            best = max(best, have)
        raise self._given_up(reason)

    def _one_connection(self) -> bool:
        """Ask once; True when all of the file is there.

        Raises:
            OSError of urllib, http.client.HTTPException: the connection failed.
            DataError: what came is no network, or it cannot be written.
        """
        have, before = self._have(), _read_json(self.origin)
        version, total = before.get("version"), before.get("size")
        if have and have == total:
            return True
        headers = {"User-Agent": f"fergan/{__version__}", "Accept-Encoding": "identity"}
        if have and isinstance(version, str) and (total is None or have < total):
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        with urllib.request.urlopen(urllib.request.Request(self.entry.url, headers=headers), timeout=TIMEOUT) as answer:
            if answer.status == 206:
                fits = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
                if not fits or int(fits[1]) != have or (total is not None and fits[3] not in ("*", str(total))):
                    self._forget()
                    return False
            else:  # 200: from the start, whatever was asked for
                have = 0
                length = answer.headers.get("Content-Length", "")
                total = int(length) if length.isdecimal() else None
                self._start({"url": self.entry.url, "version": _version(answer.headers), "size": total})
            if total is not None and total > MAX_SIZE:
                raise self._given_up(f"the server announces {total / 2**30:.0f} GiB, more than any network has")
            with _disk(self.part):
                part = open(self.part, "r+b" if have else "wb")  # noqa: SIM115
            with part:
                part.seek(have)
                while True:
                    chunk = answer.read(_CHUNK)
                    if not chunk:
                        break
                    if not have and len(chunk) >= 16:  # a shorter one is looked at when the file is complete
                        self._refuse_others(chunk)
                    have += len(chunk)
                    if have > MAX_SIZE:
                        raise self._given_up("the server sends more than any network has")
                    with _disk(self.part):
                        part.write(chunk)
                        part.flush()
                    self.progress(have, total or have)
        return have > 0 and (total is None or have == total)

    def _have(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _start(self, origin: dict[str, Any]) -> None:
        self._forget()
        write_atomically(self.origin, json.dumps(origin).encode())

    def _forget(self) -> None:
        with suppress(OSError):
            self.part.unlink(missing_ok=True)
            self.origin.unlink(missing_ok=True)

    def _refuse_others(self, beginning: bytes) -> None:
        kind = _not_a_network(beginning)
        if kind:
            self._forget()
            raise self._given_up(f"the server sent {kind} in place of the network")

    def _given_up(self, reason: str) -> DataError:
        have = self._have() if _read_json(self.origin).get("version") else 0
        kept = f" ({have / 1e6:.1f} MB are kept, and the same command goes on from there)" if have else ""
        return DataError(
            f"{self.entry.name}: cannot be downloaded: {reason}{kept}. "
            f"Or fetch {self.entry.url} by hand and put it at {printable(self.path)}"
        )


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turns the errors of a disk into a DataError, so that they are not mistaken for those of the network."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{printable(path)}: cannot be read or written ({error.strerror or error}); "
            "look at the free space and the folder's permissions, and run again"
        ) from error


def _entry(name: str) -> Published:
    if name not in ZOO:
        raise UsageError(f"no published network is called {name!r}; known are: {', '.join(ZOO)}")
    return ZOO[name]


def _place(entry: Published, cache: str | os.PathLike[str] | None) -> Path:
    return (default_cache() if cache is None else Path(cache)) / entry.file


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _tell(text: str) -> None:
    print(f"fergan: {text}", file=sys.stderr)


def _pin(entry: Published, path: Path, sha256: str, size: int) -> None:
    noted = {"name": entry.name, "url": entry.url, "licence": entry.licence, "size": size, "sha256": sha256}
    write_atomically(_beside(path, ".json"), (json.dumps(noted, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    """A small note of ours; empty if there is none.

    Raises:
        DataError: it is damaged. (A pin that cannot be read must not count as no pin.)
    """
    try:
        noted = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: cannot be read ({_short(error)}); delete it and try again") from error
    if not isinstance(noted, dict) or not isinstance(noted.get("sha256", ""), str):
        raise DataError(f"{printable(path)}: is not what fergan writes there; delete it and try again")
    return noted


def _version(headers: Any) -> str | None:
    """What identifies the server's file in ``If-Range`` (RFC 9110 section 13.1.5): a strong ETag, else the date."""
    etag = headers.get("ETag")
    if etag:
        return None if etag.startswith("W/") else str(etag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


def _not_a_network(beginning: bytes) -> str | None:
    """What else a file that begins so is, or None: published networks are pickles of protocol 2 to 5."""
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return None
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return "a web page (an error or a login, perhaps)"
    return "something that is no network"


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(error: object) -> str:
    return printable(str(error) or type(error).__name__)[:200]
