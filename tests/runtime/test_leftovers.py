"""Only temporary files of fergan's own form are cleared away."""

from pathlib import Path

from fergan.runtime.files import remove_leftovers, temporary_path
from fergan.workflows.run_folder.folder import RunFolder


def test_leftovers_of_others_and_folders_stay(tmp_path: Path) -> None:
    ours = temporary_path(tmp_path / "faces.png")
    ours.write_bytes(b"half")
    theirs = [tmp_path / name for name in (".important.tmp", f"{ours.name}.bak", ours.name.upper(), f"x{ours.name}")]
    for path in theirs:
        path.write_bytes(b"theirs")
    (tmp_path / ".x.tmp").mkdir()
    folder = temporary_path(tmp_path / "folder")
    folder.mkdir()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, tmp_path / ".x.tmp", folder])
    assert all(path.read_bytes() == b"theirs" for path in theirs)


def test_a_run_ends_without_the_files_of_a_worker_that_was_killed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        run.faces.mkdir()
        temporary_path(run.faces / "seed0000.png").write_bytes(b"half")
    assert list(run.faces.iterdir()) == []
