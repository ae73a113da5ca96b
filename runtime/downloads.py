"""Downloads that go on where they broke off, and files that are tomorrow what they were today.

Many publishers give no checksums, so a file's SHA-256 is noted when it first arrives and compared ever after.

    CACHE/NAME         the file, complete
          NAME.json    its address, size and SHA-256
          NAME.part    a download that broke off, and goes on from there
          NAME.from    which file the .part is a part of

Sources: RFC 9110 sections 13 and 14 for conditional requests and ranges.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import DataError
from .files import printable, write_atomically
from .version import __version__

ATTEMPTS = 5
"""How often in a row a connection may fail without a byte gained before the download is given up."""

PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_CHUNK = 2**16  # what a broken connection may lose

OnProgress = Callable[[float, float], None]
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        name: what messages call it.
        kind: of file it is, as in "more than any network has".
        url: its address.
        notice: what a person should read before the first download.
        note: what is noted beside the file, besides its size and SHA-256.
        beginnings: the file begins with one of these bytes; what does not is something else that the server sent.
        max_size: bytes above which it cannot be the file.
        sha256: of the file, where it is known beforehand.
    """

    name: str
    kind: str
    url: str
    notice: str
    note: Mapping[str, Any]
    beginnings: tuple[bytes, ...]
    max_size: int
    sha256: str | None = None

    def mistaken_for(self, beginning: bytes) -> str | None:
        """Name the kind of a file with these first 512 bytes if it is not the one wanted; None if it is."""
        if beginning.startswith(self.beginnings):
            return None
        if beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return "a web page (an error or a login, perhaps)"
        if beginning.startswith(b"version https://git-lfs"):
            return "a pointer of Git LFS"
        return f"something that is not a {self.kind}"


def download(remote: Remote, path: Path, progress: OnProgress | None = None) -> Path:
    """Make sure that ``path`` is there, its folder too, and is what it was when it first arrived.

    A download that breaks off goes on where it was, now or at the next call, if the server still has the same file. The
    file gets its name when it is complete. A file that somebody put there by hand is taken like a download. Processes
    that want the same file at once wait for one another.

    Raises:
        DataError: it cannot be downloaded, what comes is not of the kind wanted, or it is not the file it was before.
    """
    if remote.sha256 is not None and path.is_file() and _sha256(path) == remote.sha256:
        return path  # also from a cache that cannot be written to
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _tell(f"waiting for another process that fetches {remote.name}")
            lock.acquire()
    except OSError as error:
        raise DataError(f"{printable(path.parent)}: the cache cannot be written to ({error.strerror})") from error
    try:
        with _disk(path):
            _settle(remote, path, progress or (lambda done, total: None))
    finally:
        lock.release()
    return path


def _settle(remote: Remote, path: Path, progress: OnProgress) -> None:
    known = _read_note(_beside(path, ".json")).get("sha256")
    if known is None and not _beside(path, ".from").exists():
        _tell(remote.notice)
    if not path.is_file():
        _Download(remote, path, progress).run(known)
        return
    if known is None:
        if kind := remote.mistaken_for(_beginning(path)):
            raise DataError(f"{printable(path)}: is {kind}; delete it, fetch {remote.url} by hand and put it there")
        found = _sha256(path)
        _refuse_unpublished(remote, printable(path), found)
        _pin(remote, path, found, path.stat().st_size)
        return
    found = _sha256(path)
    if found != known:
        raise DataError(
            f"{printable(path)}: is not the file that was downloaded (SHA-256 {found[:12]}…, was {known[:12]}…), "
            "so it was damaged or replaced; delete it, and it is downloaded again"
        )
    _refuse_unpublished(remote, printable(path), found)


def _refuse_unpublished(remote: Remote, place: str, found: str) -> None:
    if remote.sha256 is not None and found != remote.sha256:
        raise DataError(
            f"{place}: is not the published {remote.name} (SHA-256 {found[:12]}…, published {remote.sha256[:12]}…); "
            "fetch the file from its publisher and give its path"
        )


@dataclass
class _Download:
    """One file on its way."""

    remote: Remote
    path: Path
    progress: OnProgress
    part: Path = field(init=False)
    origin: Path = field(init=False)

    def __post_init__(self) -> None:
        self.part, self.origin = _beside(self.path, ".part"), _beside(self.path, ".from")

    def run(self, known: str | None) -> None:
        """Download, check against the SHA-256 ``known`` from before, and give the file its name."""
        self._receive()
        self._refuse_mistaken(_beginning(self.part))
        found = _sha256(self.part)
        if known is not None and found != known:
            self._forget()
            raise DataError(
                f"{self.remote.url}: is another file than before (SHA-256 {found[:12]}…, was {known[:12]}…), so "
                f"results would change; if that is right, delete {printable(_beside(self.path, '.json'))} and try again"
            )
        if known is None:
            try:
                _refuse_unpublished(self.remote, self.remote.url, found)
            except DataError:
                self._forget()
                raise
        _pin(self.remote, self.path, found, self.part.stat().st_size)
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
                    raise self._given_up(f"the server answered {error.code} {printable(error.reason)}") from error
                if error.code == 416:  # the part and the server's file do not fit
                    self._forget()
                reason = f"the server answered {error.code} {printable(error.reason)}"
            except (OSError, http.client.HTTPException) as error:  # those of the disk are DataErrors by now
                reason = _short(getattr(error, "reason", None) or error)
            except ValueError as error:  # a redirect to no address, a header that cannot be sent back ...
                self._forget()
                raise self._given_up(f"the server's answer makes no sense ({_short(error)})") from error
            have = self._have()
            failures = 1 if have > best else failures + 1
            best = max(best, have)
        raise self._given_up(reason)

    def _one_connection(self) -> bool:
        """Ask once; True when all of the file is there.

        Raises:
            OSError of urllib, http.client.HTTPException: the connection failed.
            ValueError: the server's answer makes no sense.
            DataError: what came is not the file, or it cannot be written.
        """
        have, before = self._have(), _read_note(self.origin)
        version, total = before.get("version"), before.get("size")
        if have and have == total:
            return True
        headers = {"User-Agent": f"fergan/{__version__}", "Accept-Encoding": "identity"}
        if have and isinstance(version, str) and (total is None or have < total):
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        request = urllib.request.Request(self.remote.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if answer.status == 206:
                sent = answer.headers.get("Content-Range", "").strip()
                fits = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", sent)
                if not fits or int(fits[1]) != have or (total is not None and fits[3] not in ("*", str(total))):
                    self._forget()
                    return False
            else:  # 200: from the start, whatever was asked for
                have = 0
                length = answer.headers.get("Content-Length", "")
                total = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
                self._start({"url": self.remote.url, "version": _version(answer.headers), "size": total})
            if total is not None and total > self.remote.max_size:
                raise self._given_up(
                    f"the server announces {total / 2**30:.0f} GiB, more than any {self.remote.kind} has"
                )
            have = self._keep(answer, have, total)
        return have > 0 and (total is None or have == total)

    def _keep(self, answer: Any, have: int, total: int | None) -> int:
        """Write what arrives behind the first ``have`` bytes of ``.part``; returns how many there are then."""
        with _disk(self.part):
            part = open(self.part, "r+b" if have else "wb", opener=_no_link)  # noqa: SIM115
        with part:
            part.seek(have)
            while chunk := answer.read(_CHUNK):
                if not have and len(chunk) >= 16:  # a shorter one is looked at when the file is complete
                    self._refuse_mistaken(chunk)
                have += len(chunk)
                if have > self.remote.max_size:
                    raise self._given_up(f"the server sends more than any {self.remote.kind} has")
                with _disk(self.part):
                    part.write(chunk)
                    part.flush()
                self.progress(have, total or have)
        return have

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

    def _refuse_mistaken(self, beginning: bytes) -> None:
        if kind := self.remote.mistaken_for(beginning):
            self._forget()
            raise self._given_up(f"the server sent {kind} in place of the {self.remote.kind}")

    def _given_up(self, reason: str) -> DataError:
        have = self._have() if _read_note(self.origin).get("version") else 0
        kept = f" ({have / 1e6:.1f} MB are kept, and the same command goes on from there)" if have else ""
        return DataError(
            f"{self.remote.name}: cannot be downloaded: {reason}{kept}. "
            f"Or fetch {self.remote.url} by hand and put it at {printable(self.path)}"
        )


def _no_link(path: str, flags: int) -> int:
    """An opener that follows no link, which others can put into a cache that they share."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


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


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _tell(text: str) -> None:
    print(f"fergan: {text}", file=sys.stderr)


def _pin(remote: Remote, path: Path, sha256: str, size: int) -> None:
    noted = {**remote.note, "size": size, "sha256": sha256}
    write_atomically(_beside(path, ".json"), (json.dumps(noted, indent=2) + "\n").encode())


def _read_note(path: Path) -> dict[str, Any]:
    """A small note of ours; empty if there is none.

    Raises:
        DataError: it is damaged. (A pin that cannot be read must not count as no pin.)
    """
    try:
        noted = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)}: cannot be read ({_short(error)}); delete it and try again") from error
    if not isinstance(noted, dict) or not isinstance(noted.get("sha256", ""), str):
        raise DataError(f"{printable(path)}: is not what fergan writes there; delete it and try again")
    return noted


def _version(headers: Any) -> str | None:
    """The validator of the server's file for ``If-Range`` (RFC 9110 section 13.1.5): a strong ETag, else the date."""
    etag = headers.get("ETag")
    if etag:
        return None if etag.startswith("W/") else str(etag)
    date = headers.get("Last-Modified")
    return str(date) if date else None


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(error: object) -> str:
    return printable(str(error) or type(error).__name__)[:200]
