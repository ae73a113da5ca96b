"""Where the time of ``fergan run`` goes: ``python -m benchmarks.pipeline --n 500`` prints a Markdown table."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS: dict[str, float] = {}


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    SECONDS[what] = SECONDS.get(what, 0.0) + time.perf_counter() - started


def stages(n: int, folder: Path) -> None:
    """The parts of ``fergan run`` one after another; there PNGs are written beside the computing."""
    with timed("import torch"):
        import torch  # noqa: F401
    with timed("import keras"):
        from fergan.classify.classifier import load_classifier
    with timed("import the rest"):
        from fergan.data.faces import prepare_faces
        from fergan.data.images import write_png
        from fergan.stylegan.generator import load_generator
        from fergan.workflows.labels import label_table, merge_parts, write_part
        from fergan.workflows.report import report
        from fergan.workflows.run_folder import RunFolder
        from fergan.workflows.seeds import face_name, shards
    run = RunFolder(folder)
    run.faces.mkdir(parents=True)
    with timed("load the generator"):
        generator = load_generator()
    with timed("load the classifier"):
        classifier = load_classifier()
    run.claim("classify", {"labels": list(classifier.labels)})
    count = 0
    for number, seeds in shards(range(n)):
        count += 1
        with timed("generate"):
            pictures = generator.generate(seeds)
        with timed("encode and write PNGs"):
            for seed, picture in zip(seeds, pictures, strict=True):
                write_png(run.faces / face_name(seed), picture)
        with timed("prepare 48x48"):
            faces = prepare_faces(pictures)
        with timed("classify"):
            probabilities = classifier.predict(faces)
        with timed("write labels"):
            table = label_table([face_name(seed) for seed in seeds], list(seeds), probabilities, classifier.labels)
            write_part(run, number, table)
    with timed("write labels"):
        merge_parts(run, count)
    with timed("report"):
        report(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="faces")
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        stages(n, Path(folder) / "stages")
        started = time.perf_counter()
        command = [sys.executable, "-m", "fergan", "run", "--n", str(n), "--run", f"{folder}/whole"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - started
    print("| stage | seconds | ms a face |\n|---|---|---|")
    for what, seconds in SECONDS.items():
        print(f"| {what} | {seconds:.2f} | {1000 * seconds / n:.2f} |")
    print(f"| **`fergan run --n {n}`, whole process** | **{whole:.2f}** | {1000 * whole / n:.2f} |")


if __name__ == "__main__":
    main()
