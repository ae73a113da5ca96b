"""An estimate follows from measured figures by arithmetic that can be checked by hand, and says what it assumes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from fergan.runtime.errors import DataError
from fergan.workflows.engines.plan import BUILT_IN, Figures, estimate, read_figures
from fergan.workflows.run_folder.pictures import KeptPictures

from ...support.simulation import STORE_RATE, simulate
from ..conftest import Invoke

FIGURES = Figures("a test", 64, False, 2.0, 0.01, 0.001, 0.004, 0.002, 0.0005, 10_000, 100, 0.02, 1e-6, 1.0, 1e-5)
MEASURED = {
    "fergan": "figures 1", "n": 100, "whole_seconds": 5.0, "machine": "x86_64", "resolution": 64, "device": "cpu",
    "cores": 2, "shards": 2, "png_bytes": 900_000, "label_bytes": 16_000,
    "used": {"generator": "stylegan2-faces-64, 64 px", "classifier": "fernet (torch)", "torch": "torch 2.15"},
    "seconds": {
        "import torch": 1.5, "import the rest": 0.5, "load the generator": 0.2, "load the classifier": 0.1,
        "generate": 1.0, "encode and write PNGs": 0.4, "prepare 48x48": 0.1, "classify": 0.2, "make label parts": 0.05,
        "write label parts": 0.001, "merge labels": 0.02, "report": 1.0,
    },
}  # fmt: skip


def test_one_worker_takes_the_sum_of_what_a_face_takes() -> None:
    found = estimate(FIGURES, 6400, 1, KeptPictures("none"), price=3.0)
    assert (found.shard, found.shards) == (64, 100)
    assert found.worker_face == pytest.approx(0.0135)
    assert found.work == pytest.approx(6400 * 0.0135)
    assert found.serial == pytest.approx(1 + 6400 * 1.1e-5)
    assert found.total == pytest.approx(2 + found.work + found.serial)
    assert found.worker_hours == pytest.approx(found.total / 3600)
    assert found.cost == pytest.approx(3 * found.worker_hours)
    assert (found.pictures, found.picture_bytes) == (0, 0)
    everything = estimate(FIGURES, 6400, 1, KeptPictures("all"))
    assert everything.worker_face == pytest.approx(0.0175)
    assert everything.picture_bytes == 64e6


def test_on_a_gpu_the_slowest_of_what_goes_on_side_by_side_decides() -> None:
    gpu = replace(FIGURES, gpu=True)
    assert gpu.worker_face(0) == pytest.approx(0.011)
    assert replace(gpu, png=0.05).worker_face(1) == pytest.approx(0.05)
    assert replace(gpu, classify=0.1).worker_face(0) == pytest.approx(0.1005)


def test_more_workers_help_until_the_process_in_charge_is_busy_all_the_time() -> None:
    totals = [estimate(FIGURES, 10**6, workers, KeptPictures("none")) for workers in (1, 8, 64, 512, 4096)]
    assert [e.total for e in totals] == sorted((e.total for e in totals), reverse=True)
    assert totals[0].limit == "workers"
    assert totals[-1].limit == "driver"
    assert totals[-1].work == pytest.approx(totals[-1].shards * 0.02)
    assert totals[0].most_workers == int(512 * 0.0135 / 0.02)


@pytest.mark.parametrize("workers", [1, 16, 128])
@pytest.mark.parametrize("figures", [FIGURES, replace(FIGURES, keep=0.2), BUILT_IN[1]])
def test_the_estimate_agrees_with_the_simulation(figures: Figures, workers: int) -> None:
    kept = KeptPictures("none")
    simulated, busy = simulate(figures, 2_000_000, workers, kept)
    assert estimate(figures, 2_000_000, workers, kept).total == pytest.approx(simulated, rel=0.15)
    assert simulate(figures, 2_000_000, 1024, kept)[0] > estimate(figures, 2_000_000, 1024, kept).total * 0.97
    assert max(busy.values()) <= 1


def test_in_the_simulation_many_small_files_hold_up_many_workers() -> None:
    fast = replace(FIGURES, gpu=True, keep=1e-3)
    files, _ = simulate(fast, 1_000_000, 1024, KeptPictures("all"))
    tars, busy = simulate(fast, 1_000_000, 1024, KeptPictures("tar"))
    assert files >= 1_000_000 / STORE_RATE
    assert tars < files / 3
    assert busy["object store"] < 1


def test_the_file_of_the_benchmark_is_read(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "figures.json").write_text(json.dumps(MEASURED))
    figures = read_figures(tmp_path / "figures.json")
    assert figures.worker_face(1) == pytest.approx(0.0175)
    assert (figures.start, figures.png_bytes, figures.gpu) == (pytest.approx(2.3), 9000, False)
    done = invoke(
        "run",
        "--plan",
        "--n",
        "1000000",
        "--measured",
        "figures.json",
        "--machines",
        "4",
        "--price",
        "2",
        "--format",
        "json",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["estimate"]["cost"] == pytest.approx(2 * result["estimate"]["worker_hours"])
    assert result["estimate"]["work"] == pytest.approx(1_000_000 * 0.0135 / 4, rel=0.02)


def test_the_page_calls_itself_an_estimate_and_names_its_assumptions(invoke: Invoke) -> None:
    done = invoke("run", "--plan", "--n", "10000000", "--network", "ffhq", "--gpus", "64", "--price", "2.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ESTIMATE for 10,000,000 faces")
    assert "no GPU was measured: 10 TFLOP/s" in done.stdout
    assert "2,442 shards of 4,096 faces" in done.stdout
    assert "at the price given" in done.stdout


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fergan": "other"}, "holds no figures"),
        ({"seconds": {}}, "a figure is missing"),
        ({"seconds": [1]}, "a figure is missing"),
        ({"n": 0}, "a figure is missing"),
        ({"n": math.inf}, "a figure is missing"),  # how Python reads 1e999
        ({"png_bytes": math.inf}, "not a positive number .png_bytes."),
        ({"seconds": {**MEASURED["seconds"], "generate": 0}}, "a figure is missing or not a positive number"),
    ],
)
def test_damaged_figures_are_told_as_such(tmp_path: Path, change: dict, text: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({**MEASURED, **change}))
    with pytest.raises(DataError, match=text):
        read_figures(path)
    path.write_bytes(b"no json")
    with pytest.raises(DataError, match=r"figures.json: is damaged .*; make it by"):
        read_figures(path)
    path.unlink()
    with pytest.raises(DataError, match=r"figures.json: does not exist; make it by"):
        read_figures(path)


def test_figures_of_another_network_are_refused(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "figures.json").write_text(json.dumps(MEASURED))
    done = invoke("run", "--plan", "--n", "1000", "--network", "ffhq", "--measured", "figures.json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is of 64 pixels and ffhq of 1024" in done.stderr
    done = invoke("run", "--plan", "--n", "1000", "--network", "ffhq-256")
    assert done.returncode == 2
    assert "benchmarks.pipeline --network ffhq-256 --out" in done.stderr
