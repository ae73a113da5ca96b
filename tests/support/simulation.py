"""A large run, simulated event by event: workers draw shards whose times vary, uploads share one object store, and one
process takes results in, merges them and writes the report."""

from __future__ import annotations

import heapq

import numpy as np
from fergan.workflows.engines.plan import Figures, estimate
from fergan.workflows.run_folder.pictures import KeptPictures

STORE_RATE = 3500.0
"""Objects a second: what Amazon documents for PUTs under one prefix of S3."""

STORE_BYTES = 10e9
"""Bytes a second into the object store, assumed: about what eight nodes with 10 Gbit/s send."""

VARIATION, STRAGGLERS, SLOWER = 0.05, 0.01, 3.0
"""Assumed: standard deviation of the logarithm of a shard's time; each hundredth shard takes three times as long."""


def simulate(
    figures: Figures, n: int, workers: int, kept: KeptPictures, shard: int | None = None, seed: int = 0
) -> tuple[float, dict[str, float]]:
    """Seconds of a simulated run, and what share of it each serial resource was busy.

    A worker takes the next shard, works, waits until its pictures are stored, and goes on. The store and the process
    in charge serve one after another, first come, first served.
    """
    random = np.random.default_rng(seed)
    shard = shard or estimate(figures, n, workers, kept).shard
    shards = -(-n // shard)
    pictures = n if kept.mode in ("all", "tar") else len(kept.rows(n))
    share = pictures / n
    face = figures.worker_face(share)
    objects = {"all": shard, "sample": shard * share, "tar": 1}.get(kept.mode, 0)
    store_each = max(objects / STORE_RATE, shard * share * figures.png_bytes / STORE_BYTES)
    lengths = np.full(shards, float(shard))
    lengths[-1] = n - shard * (shards - 1)
    times = lengths * face * random.lognormal(0, VARIATION, shards)
    times[random.random(shards) < STRAGGLERS] *= SLOWER
    at_work = [figures.start + seconds for seconds in times[:workers]]  # when each worker has done its shard
    heapq.heapify(at_work)
    stored = taken = 0.0
    for following in range(len(at_work), shards + len(at_work)):
        done = heapq.heappop(at_work)
        if store_each:
            stored = done = max(stored, done) + store_each
        taken = max(taken, done) + figures.keep
        if following < shards:
            heapq.heappush(at_work, done + times[following])
    serial = n * figures.merge + figures.report + n * figures.report_face
    total = taken + serial
    busy = {
        "workers": float(times.sum()) / workers / total,
        "object store": shards * store_each / total,
        "process in charge": shards * figures.keep / total,
        "merge and report": serial / total,
    }
    return total, busy
