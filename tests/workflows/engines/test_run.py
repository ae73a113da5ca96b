"""Who does the work makes no difference: the same labels by one process, by several and by Ray, on any storage."""

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fergan.classify.bundled import DEFAULT
from fergan.data.images import read_image
from fergan.data.run_record.run import LabelsRecord
from fergan.data.run_record.settings import GenerateRecord
from fergan.runtime.errors import DataError
from fergan.workflows.engines.options import EngineOptions
from fergan.workflows.engines.run import run_all
from fergan.workflows.run_folder.faces import FacePlan
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.inputs import read_inputs
from fergan.workflows.run_folder.labels import label_table, labels_hash, merge_parts, whole_part, write_part
from fergan.workflows.run_folder.pictures import FaceReader, KeptPictures
from fergan.workflows.run_folder.seeds import shard_size
from fergan.workflows.run_folder.store import Store
from fergan.workflows.steps.generate import GenerateOptions
from fergan.workflows.steps.judge import ClassifyOptions

from ..conftest import Invoke

NETWORK = "dcgan-fer2013-48"
N = 200
TWO_NODES = Path(__file__).parents[2] / "support" / "two_nodes.py"


def run(folder: Path, engine: EngineOptions, n: int = N) -> RunFolder:
    made = RunFolder(folder)
    with made.lock():
        run_all(made, GenerateOptions(range(n), network=NETWORK), ClassifyOptions(), engine=engine)
    return made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run by this process, with all pictures."""
    return run(tmp_path_factory.mktemp("alone") / "run", EngineOptions())


def test_two_processes_give_the_same_labels_and_a_sample_of_pictures(alone: RunFolder, tmp_path: Path) -> None:
    two = run(tmp_path / "run", EngineOptions(workers=2, pictures="sample:20"))
    assert two.labels_csv.read_bytes() == alone.labels_csv.read_bytes()
    assert two.record.labels == alone.record.labels
    names = {path.name for path in two.faces.iterdir()}
    assert names == {f"seed{seed:04d}.png" for seed in range(0, N, 10)}
    assert all((two.faces / name).read_bytes() == (alone.faces / name).read_bytes() for name in names)
    page = (two.path / "report.html").read_text()
    assert re.search("Pictures of 20.faces", page)
    assert "could not be shown" not in page


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_gives_the_same_labels_though_a_node_is_killed_half_way(tmp_path: Path) -> None:
    command = [sys.executable, str(TWO_NODES), "512", str(tmp_path / "ray"), NETWORK]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost_at"] is not None
    assert found["left"] == 1
    here = run(tmp_path / "run", EngineOptions(pictures="none"), 512)
    assert not here.faces.exists()
    assert found["sha256"] == labels_hash(here)


def test_ray_missing_says_what_to_install(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = invoke("run", "--n", "3", "--network", NETWORK, "--engine", "ray")
    assert done.returncode == 2
    assert "pip install 'fergan[ray]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_tars_hold_the_pictures_and_the_report_finds_them(alone: RunFolder, tmp_path: Path) -> None:
    tars = run(tmp_path / "run", EngineOptions(pictures="tar"))
    assert sorted(path.name for path in tars.faces.iterdir()) == [f"faces-{number:06d}.tar" for number in range(4)]
    with tarfile.open(tars.faces / "faces-000001.tar") as tar:
        assert tar.getnames() == [f"seed{seed:04d}.png" for seed in range(64, 128)]
        member = tar.extractfile("seed0100.png")
        assert member is not None
        assert member.read() == (alone.faces / "seed0100.png").read_bytes()
    picture = FaceReader(tars)("seed0199.png")
    assert np.array_equal(picture, np.squeeze(read_image(alone.faces / "seed0199.png")))
    with pytest.raises(DataError, match=r"seed0200\.png"):
        FaceReader(tars)("seed0200.png")


def test_a_tar_grows_with_its_shard_and_is_made_again_if_it_was_cut(alone: RunFolder, tmp_path: Path) -> None:
    run(tmp_path / "run", EngineOptions(pictures="tar"), 20)
    tar = tmp_path / "run/faces/faces-000000.tar"
    tar.write_bytes(tar.read_bytes()[:9000])
    for n in (20, 60):
        tars = run(tmp_path / "run", EngineOptions(pictures="tar"), n)
        before, reader, known = tar.stat().st_mtime_ns, FaceReader(tars), FaceReader(alone)
        for seed in range(n):
            assert np.array_equal(reader(f"seed{seed:04d}.png"), known(f"seed{seed:04d}.png"))
        run(tmp_path / "run", EngineOptions(pictures="tar"), n)
        assert tar.stat().st_mtime_ns == before


@pytest.mark.parametrize("kept", ["tar", "storage"])
def test_another_judge_labels_pictures_that_are_no_files_of_the_run(
    alone: RunFolder, tmp_path: Path, kept: str, invoke: Invoke
) -> None:
    options = EngineOptions(pictures="tar") if kept == "tar" else EngineOptions(storage=f"file://{tmp_path}/storage")
    run(tmp_path / "run", options, 70)
    run(tmp_path / "files", EngineOptions(), 70)
    judges = ("--model", DEFAULT, "--model", "fernet")
    for name in ("run", "files"):
        done = invoke("classify", *judges, "--run", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    one, other = (tmp_path / name / "judges/fernet/labels.csv" for name in ("run", "files"))
    assert one.read_bytes() == other.read_bytes()
    tmp_path.joinpath("storage/faces/seed0003.png" if kept == "storage" else "run/faces/faces-000001.tar").unlink()
    lost = invoke("classify", *judges, "--model", "fernet-ensemble", "--run", str(tmp_path / "run"))
    assert lost.returncode == 1 and f"{1 if kept == 'storage' else 6} of 70 faces are missing" in lost.stderr


@pytest.mark.parametrize("place", ["file://{}/storage", "memory:/{}/storage"])
def test_a_run_starts_over_in_its_storage_too(tmp_path: Path, invoke: Invoke, place: str) -> None:
    storage = place.format(tmp_path)
    given = ("run", "--network", "stylegan2-faces-64", "--model", DEFAULT, "--model", "fernet", "--storage", storage)
    assert invoke(*given, "--n", "70").returncode == 0
    store = Store(storage)
    before = store.read("faces/seed0000.png")
    store.write("notes.txt", b"mine")
    assert invoke(*given, "--n", "4", "--psi", "0.5", "--force", "--run", "elsewhere").returncode == 0
    assert store.names("faces") == {f"seed{seed:04d}.png" for seed in range(4)}
    assert store.read("faces/seed0000.png") != before
    assert store.names("labels") == store.names("judges/fernet/labels") == {"part-00000.parquet"}
    assert json.loads(store.read("run.json"))["generate"]["truncation_psi"] == 0.5
    assert store.read("notes.txt") == b"mine"


def test_a_run_lives_on_in_its_storage(alone: RunFolder, tmp_path: Path) -> None:
    import fsspec

    storage = f"memory://{tmp_path.name}/run"
    first = run(tmp_path / "here", EngineOptions(pictures="sample:10", storage=storage))
    assert not list(first.faces.iterdir())
    files = fsspec.filesystem("memory")
    place = f"/{tmp_path.name}/run"
    assert {path.rpartition("/")[2] for path in files.ls(f"{place}/faces", detail=False)} == {
        f"seed{seed:04d}.png" for seed in range(0, N, 20)
    }
    files.rm(f"{place}/labels/part-00002.parquet")
    second = run(tmp_path / "elsewhere", EngineOptions(pictures="sample:10", storage=storage))  # another machine
    assert labels_hash(second) == labels_hash(alone)
    assert files.exists(f"{place}/labels/part-00002.parquet")
    assert files.cat(f"{place}/report.html").startswith(b"<!")
    assert FaceReader(second)("seed0020.png").shape == (48, 48)


def test_what_images_to_keep() -> None:
    assert str(KeptPictures.parse(None, 500)) == "all"
    assert str(KeptPictures.parse(None, 1_000_000)) == "sample:1000"
    for n, count in ((10, 3), (1000, 7), (64, 63), (1_000_003, 1000)):
        kept = KeptPictures("sample", count)
        rows = list(kept.rows(n))
        assert len(rows) == len(set(rows)) == count
        if n <= 1000:
            faces = FacePlan.of(GenerateRecord(seeds=f"0-{n - 1}", n=n))
            assert kept.files(0, 0, faces[:], n) == [faces[row].name for row in rows]


def test_a_plan_of_ten_million_faces_takes_no_memory() -> None:
    plan = FacePlan.of(GenerateRecord(seeds="5-10000004", psi_sweep=(0.5, 1.0)))
    assert len(plan) == 20_000_000
    assert plan[-1].name == "seed10000004_psi1.00.png"
    assert plan.place("seed10000004_psi1.00.png") == 19_999_999
    assert plan[10_000_000:10_000_002] == [plan[10_000_000], plan[10_000_001]]
    assert (shard_size(500), shard_size(len(plan))) == (64, 4096)


def written(folder: Path, size: int, n: int = 1000) -> tuple[RunFolder, int]:
    """A run of made-up labels in parts of ``size``, one face skipped."""
    made = RunFolder(folder)
    made.put(generate=GenerateRecord(seeds=f"0-{n - 1}", n=n))
    p = np.random.default_rng(0).dirichlet(np.ones(3), n).astype(np.float32)
    starts = range(0, n, size)
    for number, start in enumerate(starts):
        seeds = range(start, min(n, start + size))
        skipped = {"seed0003.png": "gone"} if 3 in seeds else {}
        rows = [seed for seed in seeds if seed != 3]
        table = label_table([f"seed{seed:04d}.png" for seed in seeds], seeds, p[rows], ["a", "b", "c"], skipped)
        write_part(made, number, table)
    return made, len(starts)


def test_the_hash_is_of_the_labels_and_not_of_the_parts(tmp_path: Path) -> None:
    (one, parts), (other, _) = written(tmp_path / "one", 64), written(tmp_path / "other", 333)
    assert labels_hash(one) == labels_hash(other)
    assert merge_parts(one, parts) == 1
    counts = {"b": 348, "c": 334, "a": 317}
    assert one.record.labels == LabelsRecord(999, 1, 16, labels_hash(one), None, counts)
    assert re.fullmatch("[0-9a-f]{64}", labels_hash(one))
    names = [f"seed{seed:04d}.png" for seed in range(64)]
    assert whole_part(one, 0, names)
    assert not whole_part(one, 1, names)
    changed = label_table(["seed0000.png"], [0], np.float32([[0.2, 0.3, 0.5]]), ["a", "b", "c"])
    write_part(other, 0, changed)
    assert labels_hash(one) != labels_hash(other)


def test_a_report_reads_the_same_from_parts_as_from_the_csv(tmp_path: Path) -> None:
    made, parts = written(tmp_path / "run", 64)
    merge_parts(made, parts)
    by_parts = read_inputs(made)
    kept = made.labels.rename(made.path / "kept")  # a folder of which somebody kept the export alone
    by_csv = read_inputs(made)
    kept.rename(made.labels)
    assert list(by_csv.table.faces) == list(by_parts.table.faces)
    assert np.array_equal(by_csv.table.codes, by_parts.table.codes)
    assert np.array_equal(by_csv.table.seeds, by_parts.table.seeds)  # type: ignore[arg-type]
    assert np.allclose(by_csv.table.probabilities, by_parts.table.probabilities, atol=1e-7)
    assert by_csv.skipped is not None
    assert by_parts.skipped is not None
    assert by_csv.skipped.to_dict("records") == by_parts.skipped.to_dict("records")
    (made.labels / "part-00005.parquet").unlink()
    with pytest.raises(DataError):
        read_inputs(made)
