"""Engines side by side: ``python -m benchmarks.engines --n 10000`` prints a Markdown table of faces a second.

``fergan run`` is started with each engine on the same seeds, without pictures, and must end with the same labels. The
time of the whole command is given, and the rate while shards were done, from the first to the last of them.

``--two-nodes`` runs a Ray cluster of two nodes on this machine instead, loses one of them half way (its processes are
killed) and compares the labels with those of the local engine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.two_nodes import two_nodes  # noqa: E402


def run(folder: Path, n: int, arguments: list[str]) -> dict[str, Any]:
    """``fergan run`` in a process of its own: seconds of the command, faces a second in between, the labels' hash."""
    parts = folder / "labels"
    command = [sys.executable, "-m", "fergan", "run", "--n", str(n), "--run", str(folder), "--pictures", "none"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL)
    first = last = 0.0
    seen, most, shards = 0, 0, -(-n // 64)
    while process.poll() is None:
        time.sleep(0.05)
        now = sum(1 for _ in parts.glob("part-*")) if parts.is_dir() else 0
        if now and not seen:
            first, most = time.perf_counter(), now
        if now > seen:
            last = time.perf_counter()
        seen = now
    seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    record = json.loads((folder / "run.json").read_text())
    rate = (shards - most) * 64 / (last - first) if last > first else float("nan")
    return {"seconds": seconds, "rate": rate, "sha256": record["labels"]["sha256"]}


def compare(n: int, workers: int, engines: list[str], network: list[str]) -> None:
    options = {
        "local": ["--engine", "local", "--workers", str(workers)],
        "one process": ["--engine", "local"],
        "ray": ["--engine", "ray", "--address", "local", "--workers", str(workers)],
    }
    print(f"{n} faces, {workers} workers, {os.cpu_count()} cores\n")
    print("| engine | whole command, s | faces/s of the command | faces/s, first to last shard | labels |")
    print("|---|---|---|---|---|")
    found = {}
    for engine in engines:
        with tempfile.TemporaryDirectory() as folder:
            found[engine] = run(Path(folder) / "run", n, options[engine] + network)
        row = found[engine]
        seconds = row["seconds"]
        print(
            f"| {engine} | {seconds:.1f} | {n / seconds:.0f} | {row['rate']:.0f} | {row['sha256'][:12]} |", flush=True
        )
    if len({row["sha256"] for row in found.values()}) > 1:
        sys.exit("the labels differ")
    if {"local", "ray"} <= set(found):
        share = [found["local"]["seconds"] / found["ray"]["seconds"], found["ray"]["rate"] / found["local"]["rate"]]
        print(f"\nRay against local: {share[0]:.0%} of the command's rate, {share[1]:.0%} first to last shard.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="faces")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--network", help="generator; the best bundled one by default")
    parser.add_argument("--engines", default="local,ray", help="of: one process, local, ray")
    parser.add_argument("--two-nodes", action="store_true", help="lose one of two Ray nodes half way")
    options = parser.parse_args()
    network = ["--network", options.network] if options.network else []
    if not options.two_nodes:
        compare(options.n, options.workers, options.engines.split(","), network)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = two_nodes(options.n, Path(folder) / "ray", options.network)
        print(
            f"{options.n} faces on two nodes, one killed after {found['lost_at']:.0f}, {found['left']} left: "
            f"{found['seconds']:.1f} s, labels {found['sha256']}"
        )
        local = run(Path(folder) / "local", options.n, ["--workers", str(options.workers), *network])
        print(f"local engine: {local['seconds']:.1f} s, labels {local['sha256']}")
        if local["sha256"] != found["sha256"]:
            sys.exit("the labels differ")


if __name__ == "__main__":
    main()
