"""Strangers' model files, tried in a child process that may use little memory, little time and no files.

A file of a few kilobytes can keep its reader busy for ever or fill the memory: endless loops in libhdf5, compressed
chunks, networks that double at each layer, loops in ONNX graphs. No check beforehand finds them all, and a reader
that hangs in C cannot be stopped from Python. So a forked child opens the file first and runs the network once, under
limits that the kernel enforces. Only what the child gets through is opened here, and the same bytes take the same way.
So opening a file takes about twice the time that :class:`Limits` allows at most, as what the child did is done again;
an ONNX file, whose further files are counted in a child of its own first, about four times.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, first_line

_MEMORY = 400 * 2**20
"""Bytes beyond what the process has when it forks; a file may take ten times its own size as well."""
_MOST_TEXT = 2**16

_NO_MEMORY = ("allocate memory", "bad_alloc", "std::bad")
_BLOCKED, _UNTRIED = "blocked", "untried"
_GLANCE, _IDLE = 1.0, 4
"""A child is looked at once in so many seconds; idle so many times in a row, it is blocked."""


class Limits:
    """Memory and time that opening one file may take, all its tries in child processes together.

    Args:
        size: bytes of the file, which raise the limits.
        seconds: of processor time for a small file; each 16 MiB have one more.
        patience: seconds that the clock may show beyond these, as a busy machine lets processes wait for a core.

    Attributes:
        seconds, wait: what is left, of processor time and on the clock.
    """

    def __init__(self, size: int, seconds: float = 7, patience: float = 11) -> None:
        self.size = size
        self.seconds = seconds + size // 2**24
        self.wait = self.seconds + patience

    def spend(self, seconds: float, wait: float) -> None:
        """Take off what a child took."""
        self.seconds = max(0.0, self.seconds - seconds)
        self.wait = max(0.0, self.wait - wait)


def try_in_child(
    path: Path, limits: Limits, action: Callable[[], object], errors: Mapping[str, type[Exception]]
) -> None:
    """Run ``action`` in a child process with limits on memory, time and files, and drop what it returns.

    Systems other than Linux run nothing: forking is not safe there, or not possible.

    Args:
        path: of the model, for errors.
        limits: what this try and all others of the same file may take.
        action: opens and tries the model; must not use the GPU.
        errors: by the names of their classes, those that are raised here as they were in the child.

    Raises:
        DataError: the child met one of its limits, crashed, or ``action`` raised any other error.
    """
    if not sys.platform.startswith("linux"):
        return
    outcome = _attempt(limits, action)
    if outcome.get("kind") == _BLOCKED:  # it waited for a lock that another thread held at the fork, most likely
        outcome = _attempt(limits, action)
    kind, text = outcome.get("kind"), str(outcome.get("text"))
    if kind is None:
        return
    final = errors.get(str(kind), DataError) is DataError  # of others, the caller tries another way
    if kind == "MemoryError" or (final and any(words in text for words in _NO_MEMORY)):
        raise DataError(f"{path}: needs more memory than a model of {limits.size} bytes may; it is damaged or hostile")
    if kind in errors:
        raise errors[kind](text)
    if kind in (_BLOCKED, "time"):
        raise DataError(
            f"{path}: opening it and judging one batch does not end; it is damaged or hostile, or this machine is too "
            "busy: try again when it is not"
        )
    if kind == _UNTRIED:
        raise DataError(f"{path}: cannot be tried: this machine starts no further process ({text}); try again later")
    if kind == "crash":
        raise DataError(f"{path}: makes its reader crash ({text}); it is damaged or hostile")
    raise DataError(f"{path}: is not a model that can be opened safely ({first_line(text) or kind})")


def _attempt(limits: Limits, action: Callable[[], object]) -> dict[str, Any]:
    """The outcome of ``action``: ``kind`` and ``text`` of the error, nothing where there was none."""
    began = time.monotonic()
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():  # Python warns of forking beside threads; the child uses one and starts none
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return {"kind": _UNTRIED, "text": error.strerror}
    if child == 0:
        _work(writing, limits, action)
    os.close(writing)
    said, late = b"", None
    try:
        with open(reading, "rb") as pipe:
            poll = select.poll()  # unlike select, takes the high descriptors of a busy server
            poll.register(pipe)
            late = _late(poll, child, limits)
            if late:
                os.kill(child, signal.SIGKILL)
            else:
                said = pipe.read(_MOST_TEXT)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    _, status, used = os.wait4(child, 0)
    limits.spend(used.ru_utime + used.ru_stime, time.monotonic() - began)
    if late:
        return {"kind": late}
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {"kind": "time"} if name in ("SIGALRM", "SIGXCPU") else {"kind": "crash", "text": name}
    try:
        outcome = json.loads(said)
    except ValueError:
        return {"kind": "crash", "text": f"exit {os.waitstatus_to_exitcode(status)}"}
    return outcome if isinstance(outcome, dict) else {}


def _late(poll: select.poll, child: int, limits: Limits) -> str | None:
    """Wait for a child's answer; why it did not come, None if it did."""
    end, idle = time.monotonic() + limits.wait, 0
    while (left := end - time.monotonic()) > 0 and idle < _IDLE:
        if poll.poll(1000 * min(left, _GLANCE)):
            return None
        idle = 0 if _is_running(child) else idle + 1
    return _BLOCKED if idle else "time"


def _is_running(child: int) -> bool:
    """Whether a process computes, waits for a core, or reads from a disk; not where it waits for anything else."""
    try:
        with open(f"/proc/{child}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] in ([b"R"], [b"D"])
    except OSError:
        return False


def _work(writing: int, limits: Limits, action: Callable[[], object]) -> None:
    """Do the child's part; does not return."""
    outcome: dict[str, str] = {}
    try:
        _shut_in(writing, limits)
        action()
    except BaseException as error:
        try:
            outcome = {"kind": type(error).__name__, "text": str(error)[:4096]}
        except BaseException:
            outcome = {"kind": "MemoryError"}
    try:
        os.write(writing, json.dumps(outcome).encode())
    finally:
        os._exit(0)


def _shut_in(writing: int, limits: Limits) -> None:
    """Limit this process, and let go of what it has from its parent: sockets, files, handlers of signals."""
    import resource

    import torch

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.wait + 5)  # for when the parent is gone
    gc.disable()  # old objects would close descriptors that are in use anew
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, writing)
    os.closerange(writing + 1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], writing + 1))
    torch.set_num_threads(1)  # the parent's threads are not here
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, mapped + _MEMORY + 10 * limits.size)
    _limit(resource.RLIMIT_CPU, max(1, round(limits.seconds)))
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(which: int, value: int) -> None:
    import resource

    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, hard))
