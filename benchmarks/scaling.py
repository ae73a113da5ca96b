"""Where a large run stops scaling: ``python -m benchmarks.scaling`` measures, simulates and prints Markdown tables.

Measured here, with fergan's own functions: storing, checking and merging label parts, and the report by its number of
faces; with ``--ray``, what Ray Data takes for a shard besides its work. From these and the built-in figures of a face
(or ``--measured FILE`` of ``benchmarks.pipeline --out``) runs are simulated event by event: workers draw shards whose
times vary, uploads share one object store, one process takes results in, merges them and writes the report.

Everything below the measured table is a simulation. No cluster was used.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fergan.workflows.engines.plan import BUILT_IN, Figures, PlanOptions, estimate, plan, read_figures
from fergan.workflows.run_folder.pictures import KeptPictures

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.simulation import SLOWER, STORE_BYTES, STORE_RATE, STRAGGLERS, VARIATION, simulate  # noqa: E402

WORKERS = (1, 4, 16, 64, 256, 1024, 4096)


def driver_costs(rows: tuple[int, int]) -> dict[str, float]:
    """Measure the process in charge: seconds to keep a part, to merge a face, for a report and for a face in it."""
    from fergan.workflows.run_folder import labels
    from fergan.workflows.run_folder.folder import RunFolder
    from fergan.workflows.run_folder.labels import face_table, keep_part, merge_parts, part_bytes
    from fergan.workflows.steps.generate import FaceMaker, GenerateOptions
    from fergan.workflows.steps.judge import ClassifyOptions, Judge
    from fergan.workflows.steps.report import report

    random = np.random.default_rng(0)
    judge = Judge(ClassifyOptions())
    names = judge.classifier.labels
    most, reports, costs = labels.MOST_CSV_ROWS, [], {}
    size = 4096
    for n in rows:
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder(f"{folder}/run")
            maker = FaceMaker(GenerateOptions(seeds=range(n)))
            run.claim(maker.record)
            run.claim(judge.record())
            run.put(images="none")
            judge.keep_validation(run)
            keeping = 0.0
            count = -(-n // size)
            for number in range(count):
                faces = maker.faces[number * size : (number + 1) * size]
                chances = random.dirichlet(np.full(len(names), 0.4), len(faces)).astype(np.float32)
                part = part_bytes(face_table(faces, chances, names))
                began = time.perf_counter()
                keep_part(run, number, part)
                keeping += time.perf_counter() - began
            costs["keep"] = keeping / count
            costs["bytes"] = len(part) / len(faces)
            labels.MOST_CSV_ROWS = 0  # as in runs of more than a million faces
            began = time.perf_counter()
            merge_parts(run, count)
            costs["merge"] = (time.perf_counter() - began) / n
            labels.MOST_CSV_ROWS = most
            merge_parts(run, count)
            if not reports:
                report(run)  # imports, first of all
            began = time.perf_counter()
            report(run)
            reports.append(time.perf_counter() - began)
    slope = max(0.0, (reports[1] - reports[0]) / (rows[1] - rows[0]))
    return {**costs, "report": max(0.0, reports[0] - slope * rows[0]), "report_face": slope}


def ray_cost(shards: int, shard: int) -> float:
    """Measure what Ray Data takes for a shard that holds no work: two actor stages with a shard's bytes between them.

    Each shard is a block of its own here, as with so many workers that none gets more than a few.
    """
    import ray
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False

        class Make:
            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                return {"number": row["number"], "faces": bytes(shard * 48 * 48)}

        class Label:
            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                return {"number": row["number"], "part": bytes(40 * shard)}

        def drain(count: int) -> float:
            data = ray.data.from_items([{"number": i} for i in range(count)], override_num_blocks=count)
            for stage in (Make, Label):
                data = data.map(stage, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0.25)
            began = time.perf_counter()
            assert sum(1 for _ in data.iter_rows()) == count
            return time.perf_counter() - began

        small = drain(shards // 4)
        return max(0.0, (drain(shards) - small) / (shards - shards // 4))
    finally:
        ray.shutdown()


def _time(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def table(title: str, figures: Figures, n: int, kept: KeptPictures, shard: int | None = None) -> None:
    face = 1000 * figures.worker_face(1.0 if kept.mode in ("all", "tar") else 0.0)
    print(f"\n**{title}** (SIMULATED: {n:,} faces, {face:.3g} ms a face)\n")
    print("| workers | time | by `fergan run --plan` | efficiency | busiest |\n|---|---|---|---|---|")
    one = simulate(figures, n, 1, kept, shard)[0]
    for workers in WORKERS:
        total, busy = simulate(figures, n, workers, kept, shard)
        said = _time(estimate(figures, n, workers, kept).total) if shard is None else "–"
        most = max(busy, key=lambda name: busy[name])
        share = f"{100 * one / workers / total:.0f} %"
        print(f"| {workers:,} | {_time(total)} | {said} | {share} | {most} ({100 * busy[most]:.0f} % of the time) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=10_000_000, help="faces of the simulated runs")
    parser.add_argument("--measured", metavar="FILE", help="of benchmarks.pipeline --out; the built-in figures if not")
    parser.add_argument("--rows", default="200000,800000", help="faces of the two runs that are measured")
    parser.add_argument("--ray", action="store_true", help="measure what Ray Data takes for a shard")
    options = parser.parse_args()
    few, many = map(int, options.rows.split(","))
    costs = driver_costs((few, many))
    ray_seconds = {shard: ray_cost(count, shard) for shard, count in ((64, 600), (4096, 300))} if options.ray else {}
    print(f"MEASURED here ({platform.machine()}, {os.cpu_count()} cores), the process in charge:\n")
    print("| what | time |\n|---|---|")
    print(f"| store a part of 4,096 faces | {1000 * costs['keep']:.2f} ms |")
    for shard, seconds in ray_seconds.items():
        print(f"| Ray Data, a shard of {shard} without its work | {1000 * seconds:.1f} ms |")
    print(f"| check and merge parts | {1e6 * costs['merge']:.2f} µs a face |")
    print(f"| report | {costs['report']:.2f} s and {1e6 * costs['report_face']:.1f} µs a face |")
    print(f"| a part holds | {costs['bytes']:.0f} bytes a face |")
    driver = {
        "keep": costs["keep"] + ray_seconds.get(4096, 0.010),
        **{name: costs[name] for name in ("merge", "report", "report_face")},
    }
    print(
        f"\nAssumed: object store {STORE_RATE:,.0f} objects/s and {STORE_BYTES / 1e9:g} GB/s; a shard's time varies by "
        f"{100 * VARIATION:.0f} %, {100 * STRAGGLERS:.0f} % of them take {SLOWER:g} times as long"
        + ("." if ray_seconds else "; Ray takes 10 ms a shard.")
    )
    none, tar, files = KeptPictures("none"), KeptPictures("tar"), KeptPictures("all")
    if options.measured:
        figures = replace(read_figures(options.measured), **driver)
        table(f"{figures.about}, no pictures", figures, options.n, none)
        table(f"{figures.about}, tar", figures, options.n, tar)
        return
    small = replace(BUILT_IN[0], **driver)
    large = replace(plan(PlanOptions(options.n, "ffhq", gpus=1))[0], **driver)
    table("1024 pixels on assumed GPUs of 10 TFLOP/s, no pictures", large, options.n, none)
    table("the same, pictures in tars", large, options.n, tar)
    table("the same, a PNG a face in one prefix", large, options.n, files)
    table("64 pixels on machines of 2 cores, no pictures", small, options.n, none)
    small_shards = replace(small, keep=costs["keep"] + ray_seconds.get(64, 0.010))
    table("the same in shards of 64", small_shards, options.n, none, 64)


if __name__ == "__main__":
    main()
