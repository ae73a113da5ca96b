from pathlib import Path

import fergan
import numpy as np
import pytest
from fergan.runtime.errors import DataError
from fergan.workflows.run_folder.folder import RunFolder
from fergan.workflows.run_folder.inputs import read_validation

WEIGHTS = Path(fergan.__file__).parent / "classify/weights"


def run_with(folder: Path, validation: bytes) -> RunFolder:
    run = RunFolder(folder)
    run.path.mkdir(exist_ok=True)
    run.validation.write_bytes(validation)
    return run


@pytest.mark.parametrize("model", ["fernet", "fernet-ensemble"])
def test_validation_faces_with_copies_in_training_are_left_out(tmp_path: Path, model: str) -> None:
    """631 of the 3,589 faces of FER2013's PublicTest have copies in Training, and are answered better than others."""
    file = WEIGHTS / f"{model}.validation.npz"
    found = read_validation(run_with(tmp_path / "run", file.read_bytes()))
    assert found is not None and found.kept is not None
    assert len(found.kept) == 3589 and len(found.labels) == len(found.probabilities) == found.kept.sum() == 2958
    assert found.name.lower() == "fer2013 publictest without 631 faces that have copies among the training faces"
    with np.load(file) as stored:
        right = stored["probabilities"].argmax(axis=1) == stored["labels"]
        assert np.array_equal(found.kept, ~stored["leaks"])
        assert np.array_equal(found.labels, stored["labels"][~stored["leaks"]])
        assert np.array_equal(found.probabilities, stored["probabilities"][~stored["leaks"]])
    assert right[~found.kept].mean() > right[found.kept].mean() + 0.1


def test_without_a_mask_all_faces_count_and_a_broken_mask_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", b"")
    faces = {"name": "mine", "labels": np.arange(3), "probabilities": np.eye(3, dtype=np.float32)}
    np.savez(run.validation, **faces)
    found = read_validation(run)
    assert found is not None and len(found.labels) == 3 and found.kept is None and found.name == "mine"
    np.savez(run.validation, **faces, leaks=np.zeros(2, bool))
    with pytest.raises(DataError, match=r"validation.npz: is damaged"):
        read_validation(run)
