"""Where the time of ``fergan run`` goes: ``python -m benchmarks.pipeline --n 500`` prints a Markdown table.

First its stages one after another in a process of their own, then the command itself, in which PNGs are written beside
the computing. ``--network`` takes what ``fergan run --network`` takes, for example a generator of 1024 pixels.
``--out FILE`` keeps the figures for ``fergan run --plan --measured FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS: dict[str, float] = {}


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    SECONDS[what] = SECONDS.get(what, 0.0) + time.perf_counter() - started


def stages(n: int, folder: Path, network: str | None) -> tuple[dict[str, str], dict[str, Any]]:
    """The parts of ``fergan run`` one after another, timed in :data:`SECONDS`; what was used, what came of it."""
    from fergan.runtime.memory import tune_malloc

    tune_malloc()
    with timed("import torch"):
        import torch
    with timed("import the rest"):
        from fergan.data.faces import prepare_faces
        from fergan.data.images import write_png
        from fergan.workflows.run_folder.folder import RunFolder
        from fergan.workflows.run_folder.labels import face_table, keep_part, merge_parts, part_bytes
        from fergan.workflows.run_folder.seeds import shards
        from fergan.workflows.steps.classify import ClassifyOptions, Judge
        from fergan.workflows.steps.generate import FaceMaker, GenerateOptions
        from fergan.workflows.steps.report import report
    run = RunFolder(str(folder))
    run.faces.mkdir(parents=True)
    with timed("load the generator"):
        maker = FaceMaker(GenerateOptions(seeds=range(n), network=network))
    with timed("load the classifier"):
        judge = Judge(ClassifyOptions())
    run.claim(maker.record)
    run.claim(judge.record())
    judge.keep_validation(run)
    count = 0
    for number, faces in shards(maker.faces):
        count += 1
        with timed("generate"):
            import numpy as np

            pictures = np.stack(list(maker.draw(faces)))
        with timed("encode and write PNGs"):
            for face, picture in zip(faces, pictures, strict=True):
                write_png(run.faces / face.name, picture)
        with timed("prepare 48x48"):
            prepared = prepare_faces(pictures)
        with timed("classify"):
            probabilities = judge.classifier.predict(prepared)
        with timed("make label parts"):
            part = part_bytes(face_table(faces, probabilities, judge.classifier.labels))
        with timed("write label parts"):
            keep_part(run, number, part)
    with timed("merge labels"):
        merge_parts(run, count)
    with timed("report"):
        report(run)
    return {
        "generator": f"{maker.generator.name}, {maker.generator.img_resolution} px",
        "classifier": f"{judge.classifier.name} ({judge.classifier.engine})",
        "torch": f"torch {torch.__version__}, {torch.get_num_threads()} threads",
    }, {
        "resolution": maker.generator.img_resolution,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cores": torch.get_num_threads(),
        "shards": count,
        "png_bytes": sum(path.stat().st_size for path in run.faces.glob("*.png")),
        "label_bytes": sum(path.stat().st_size for path in run.labels.iterdir()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=500, help="faces")
    parser.add_argument("--network", metavar="FILE|NAME", help="generator; the best bundled one by default")
    parser.add_argument("--out", metavar="FILE", help="write the figures for 'fergan run --plan --measured FILE'")
    parser.add_argument("--stages", metavar="DIR", help=argparse.SUPPRESS)  # what the process of the stages is told
    options = parser.parse_args()
    if options.stages:
        used, facts = stages(options.n, Path(options.stages), options.network)
        print(json.dumps({"used": used, "seconds": SECONDS, **facts}))
        return
    network = ["--network", options.network] if options.network else []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.pipeline", "--n", str(options.n), *network]
        done = subprocess.run([*command, "--stages", f"{folder}/stages"], check=True, stdout=subprocess.PIPE, text=True)
        parts = json.loads(done.stdout.splitlines()[-1])
        started = time.perf_counter()
        command = [sys.executable, "-m", "fergan", "run", "--n", str(options.n), "--run", f"{folder}/whole", *network]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.perf_counter() - started
        if status:
            sys.exit(f"fergan run ended with {os.waitstatus_to_exitcode(status)}")
    if options.out:
        figures = {
            "fergan": "figures 1",
            "n": options.n,
            "whole_seconds": whole,
            "machine": platform.machine(),
            **parts,
        }
        Path(options.out).write_text(json.dumps(figures, indent=1) + "\n")
    used = "; ".join(parts["used"].values())
    print(f"{options.n} faces: {used}; {platform.machine()}, {os.cpu_count()} cores\n")
    print("| stage | seconds | ms a face |\n|---|---|---|")
    for what, seconds in parts["seconds"].items():
        print(f"| {what} | {seconds:.2f} | {1000 * seconds / options.n:.2f} |")
    print(f"| **`fergan run --n {options.n}`, whole process** | **{whole:.2f}** | {1000 * whole / options.n:.2f} |")
    print(f"\nPeak memory of that process: {usage.ru_maxrss / 2**10:,.0f} MiB.")


if __name__ == "__main__":
    main()
