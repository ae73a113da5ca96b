"""Runs that are killed, starved and damaged.

A round begins a run, does one of the faults below to it at a random moment, and gives the same command again where the
run did not survive. A round is good if the run ends complete, without duplicates and with the labels (their SHA-256) of
an undisturbed one.

Full and read-only disks are small tmpfs mounts, for which one must be root.
"""

from __future__ import annotations

import contextlib
import csv
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NETWORK = "dcgan-fer2013-48"
_CLOCK = """
import itertools, time
_time, _turn = time.time, itertools.count()
time.time = lambda: _time() + (-1e9, 0, 3e9, -4e8)[next(_turn) % 4]
"""
"""A ``sitecustomize`` with which the wall clock jumps by decades at each look."""


class Round:
    """One run in a folder of its own, and how often it was started.

    Args:
        folder: where the run's folder is made.
        n: faces.
        rng: of the moments.
        reference: the labels' hash of an undisturbed run.
        seconds: that one took.
    """

    def __init__(self, folder: Path, n: int, rng: random.Random, reference: str = "", seconds: float = 0) -> None:
        self.run, self.n, self.rng, self.reference, self.seconds = folder / "run", n, rng, reference, seconds
        self.starts = 0

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        self.starts += 1
        command = [sys.executable, "-m", "fergan", "run", "--n", str(self.n), "--network", NETWORK]
        return subprocess.Popen(
            [*command, "--run", str(self.run), "--pictures", "sample:20", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )

    def finish(self, *options: str, **environment: str) -> None:
        """Start the run and wait for its good end."""
        done = self.start(*options, **environment)
        self.must(done, 0)

    def must(self, process: subprocess.Popen[str], code: int, said: str = "") -> None:
        """Wait for a process and insist on its exit code and on what it says, in one line."""
        out, error = process.communicate()
        require(process.returncode == code, f"exit code {process.returncode}, not {code}: {error[-500:]}")
        require(re.search(said, out + error) is not None, f"it does not say {said!r}: {error[-500:]}")
        require(code == 0 or "Traceback" not in error, error)
        require("constructor arguments" not in out + error, "the core of Ray speaks to the user")

    def sleep(self, process: subprocess.Popen[str]) -> None:
        """Wait for a random moment of the run's life."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.rng.uniform(0.1, self.seconds))

    def wait_for_parts(self, process: subprocess.Popen[str], count: int = 1) -> None:
        while process.poll() is None and sum(1 for _ in self.run.glob("labels/part-*")) < count:
            time.sleep(0.01)

    def check(self) -> None:
        """The run is complete and whole, and its labels are the right ones."""
        from fergan.workflows.run_folder.folder import RunFolder
        from fergan.workflows.run_folder.labels import count_parts, labels_hash

        run = RunFolder(self.run)
        require(run.record.labels.sha256 == self.reference, "run.json tells other labels")
        require(labels_hash(run) == self.reference, "the parts hold other labels")
        require(count_parts(run) == -(-self.n // 64), "there are other parts than shards")
        with open(run.labels_csv, newline="") as file:
            names = [row["face"] for row in csv.DictReader(file)]
        require(names == [f"seed{seed:04d}.png" for seed in range(self.n)], "labels.csv has other faces")
        require(len(list(run.faces.iterdir())) == 20, "there are other pictures than the sample")
        require((run.path / "report.html").exists(), "there is no report")
        require(not list(self.run.rglob(".*.tmp")), "half-written files are left")


class Wrong(Exception):
    """A round that did not end as it must."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def driver_killed(this: Round) -> None:
    """kill -9 of the process that was started, with two workers"""
    process = this.start("--workers", "2")
    this.sleep(process)
    workers = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_until_gone(workers)
    this.finish("--workers", "2")


def worker_killed(this: Round) -> None:
    """kill -9 of one of two workers"""
    process = this.start("--workers", "2")
    kill_one(this, process, lambda pid: "spawn_main" in command_of(pid))
    this.must(process, 0)


def actor_killed(this: Round) -> None:
    """kill -9 of a Ray actor"""
    process = this.start("--engine", "ray", "--address", "local", "--workers", "2")
    kill_one(this, process, lambda pid: "ray::MapWorker" in command_of(pid))
    this.must(process, 0)


def ray_driver_killed(this: Round) -> None:
    """kill -9 of the process that started a Ray cluster"""
    process = this.start("--engine", "ray", "--address", "local", "--workers", "2")
    this.wait_for_parts(process)
    cluster = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_until_gone(cluster)
    this.finish()


def terminated(this: Round) -> None:
    """SIGTERM"""
    process = this.start("--workers", "2")
    this.wait_for_parts(process)
    process.terminate()
    process.communicate()
    require(process.returncode in (130, 0), f"exit code {process.returncode}")
    this.finish()


def disk_full(this: Round) -> None:
    """no space left on the device (a tmpfs of 200 kB, then a larger one)"""
    with small_disk(this.run, "200k") as mount:
        this.must(this.start("--workers", "2"), 1, "disk is full")
        mount("size=64m")
        this.finish()
        this.check()


def read_only(this: Round) -> None:
    """the file system becomes read-only between two starts"""
    with small_disk(this.run, "64m") as mount:
        process = this.start()
        this.wait_for_parts(process)
        process.kill()
        process.communicate()
        mount("ro")
        this.must(this.start(), 1, "cannot be written")
        mount("rw")
        this.finish()
        this.check()


def parts_damaged(this: Round) -> None:
    """parts cut short, emptied, with a flipped bit, or under another's name; and a half-written file"""
    this.finish()
    parts = sorted(this.run.glob("labels/part-*"))
    require(len(parts) >= 4, "this fault needs four shards")
    cut, empty, flipped, other = this.rng.sample(parts, 4)
    cut.write_bytes(cut.read_bytes()[: this.rng.randrange(1, cut.stat().st_size)])
    empty.write_bytes(b"")
    content = bytearray(flipped.read_bytes())
    content[this.rng.randrange(len(content) // 2)] ^= 1 << this.rng.randrange(8)
    flipped.write_bytes(content)
    other.write_bytes((parts[0] if other != parts[0] else parts[1]).read_bytes())
    (this.run / "labels" / ".fergan-0123456789abcdef.tmp").write_bytes(b"half")
    this.finish()


def two_at_once(this: Round) -> None:
    """a second process on the same run folder"""
    process = this.start()
    while process.poll() is None and not (this.run / ".lock.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # so that it is still there when the second one comes
    try:
        this.must(this.start(), 2, rf"another fergan process is at work .*process {process.pid} on \S+, since ")
    finally:
        process.send_signal(signal.SIGCONT)
    this.must(process, 0)


def clock_jumps(this: Round) -> None:
    """the clock jumps by decades, and files are from the future and from 1971"""
    (this.run.parent / "sitecustomize.py").write_text(_CLOCK)
    process = this.start(PYTHONPATH=str(this.run.parent))
    this.wait_for_parts(process)
    process.kill()
    process.communicate()
    for path in this.run.rglob("*"):
        when = this.rng.choice([4e7, 4e9])
        os.utime(path, (when, when))
    this.finish(PYTHONPATH=str(this.run.parent))


FAULTS: dict[str, Callable[[Round], None]] = {
    one.__name__: one
    for one in (
        driver_killed,
        worker_killed,
        actor_killed,
        ray_driver_killed,
        terminated,
        disk_full,
        read_only,
        parts_damaged,
        two_at_once,
        clock_jumps,
    )
}
MOUNTS = ("disk_full", "read_only")
RAY = ("actor_killed", "ray_driver_killed")


def undisturbed(folder: Path, n: int) -> tuple[str, float]:
    """The labels' hash of a run to which nothing is done, and the seconds that it took."""
    from fergan.workflows.run_folder.folder import RunFolder
    from fergan.workflows.run_folder.labels import labels_hash

    first, began = Round(folder, n, random.Random()), time.monotonic()
    first.finish()
    return labels_hash(RunFolder(first.run)), time.monotonic() - began


def try_fault(name: str, this: Round) -> None:
    """Do a fault of :data:`FAULTS` to a run and look at the end of it.

    Raises:
        Wrong: the run did not end as it must.
    """
    FAULTS[name](this)
    if name not in MOUNTS:  # these look themselves, before their disk is gone
        this.check()


def kill_one(this: Round, process: subprocess.Popen[str], wanted: Callable[[int], bool]) -> None:
    """Kill one of the processes below ``process``, at a random moment after they have begun."""
    this.wait_for_parts(process)
    found = [pid for pid in descendants(process.pid) if wanted(pid)]
    require(bool(found) or process.poll() is not None, "there is nobody to kill")
    if found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(this.rng.choice(found), signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Process ids below ``pid``."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = list(parents.get(pid, ()))
    for child in found:
        found += parents.get(child, ())
    return found


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def wait_until_gone(pids: list[int], seconds: float = 30) -> None:
    """Nobody whose first process is gone may go on working."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any("fergan" in command_of(pid) or "spawn_main" in command_of(pid) for pid in pids):
            return
        time.sleep(0.05)
    raise Wrong("workers outlive the process that started them")


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own on ``folder``; yields what changes its options."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda option: subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount() -> bool:
    """Whether this user may mount file systems here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk", "64k"):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False
