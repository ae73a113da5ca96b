"""Runs that are killed, starved and damaged: ``python -m benchmarks.faults --rounds 5`` prints a Markdown table.

Each round begins a run, does one of the faults below to it at a random moment, and gives the same command again where
the run did not survive. A round is good if the run ends complete, without duplicates and with the labels (their
SHA-256) of an undisturbed one. The exit code is 1 if any round is not.

Full and read-only disks are small tmpfs mounts, for which one must be root; where one is not, they are left out.
"""

from __future__ import annotations

import argparse
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
    """One run in a folder of its own, and how often it was started."""

    def __init__(self, folder: Path, n: int, seconds: float, rng: random.Random) -> None:
        self.run, self.n, self.seconds, self.rng = folder / "run", n, seconds, rng
        self.starts = 0

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        self.starts += 1
        command = [sys.executable, "-m", "fergan", "run", "--n", str(self.n), "--network", NETWORK]
        return subprocess.Popen(
            [*command, "--run", str(self.run), "--images", "sample:20", *options],
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

    def check(self, reference: str) -> None:
        """The run is complete and whole, and its labels are the right ones."""
        from fergan.workflows.run_folder.folder import RunFolder
        from fergan.workflows.run_folder.labels import count_parts, labels_hash

        run = RunFolder(self.run)
        require(run.record["labels"]["sha256"] == reference, "run.json tells other labels")
        require(labels_hash(run) == reference, "the parts hold other labels")
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
        this.check(reference_of(this))


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
        this.check(reference_of(this))


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


_REFERENCES: dict[int, str] = {}


def reference_of(this: Round) -> str:
    return _REFERENCES[this.n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=1024, help="faces of a run")
    parser.add_argument("--rounds", type=int, default=1, help="of each fault")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", metavar="LIST", help=f"of: {', '.join(FAULTS)}")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(FAULTS)
    left_out = [] if can_mount() else [name for name in chosen if name in MOUNTS]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        first, began = Round(Path(folder), options.n, 0, random.Random()), time.monotonic()
        first.finish()
        seconds = time.monotonic() - began
        from fergan.workflows.run_folder.folder import RunFolder
        from fergan.workflows.run_folder.labels import labels_hash

        _REFERENCES[options.n] = labels_hash(RunFolder(first.run))
    print(f"{options.n} faces a run, undisturbed {seconds:.1f} s, labels {_REFERENCES[options.n][:12]}\n")
    print("| fault | rounds | complete, same labels | starts a round |\n|---|---|---|---|", flush=True)
    for name in chosen:
        if name in left_out:
            print(f"| {FAULTS[name].__doc__} | 0 | not tried: mounting is not allowed here | |")
            continue
        good, starts, wrong = 0, 0, ""
        for turn in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                this = Round(Path(folder), options.n, seconds, random.Random(f"{options.seed}/{name}/{turn}"))
                try:
                    FAULTS[name](this)
                    if name not in MOUNTS:  # these look themselves, before their disk is gone
                        this.check(_REFERENCES[options.n])
                    good += 1
                except Wrong as error:
                    wrong = f" {error}"
                starts += this.starts
        failed = failed or good < options.rounds
        print(
            f"| {FAULTS[name].__doc__} | {options.rounds} | {good}{wrong} | {starts / options.rounds:g} |", flush=True
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
