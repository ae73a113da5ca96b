"""A teacher's answers: computed once, gone on with after a stop, and never taken for another's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fergan.classify.bundled import bundled_classifiers
from fergan.classify.card import described, family, read_card
from fergan.classify.classifier import load_classifier
from fergan.data.face_set import FaceSet
from fergan.data.labels import FER2013
from fergan.runtime.claims import training_in
from fergan.runtime.errors import UsageError
from fergan.workflows.classifiers import teacher
from fergan.workflows.classifiers.train import train_classifier
from fergan.workflows.classifiers.training_data import ClassifierOptions

FACES = FaceSet(
    np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8),
    np.arange(40) % 7,
    np.where(np.arange(40) % 4, "Training", "PublicTest"),
    FER2013,
)


def test_training_rows_are_judged_once_and_a_stop_loses_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "_PART", 16)

    class Stop(Exception):
        pass

    def stop(done: int, of: int) -> None:
        if done == 16:
            raise Stop

    fernet = teacher.load_teacher("fernet", FER2013, device="cpu")
    with pytest.raises(Stop):
        teacher.teacher_probabilities(FACES, tmp_path, fernet, show=stop)
    seen: list[int] = []
    answers = teacher.teacher_probabilities(FACES, tmp_path, fernet, show=lambda done, of: seen.append(done))
    assert seen == [30]  # the 16 of the first call are not judged again
    rows = FACES.usage == "Training"
    expected = fernet.predict(FACES.images[rows])
    np.testing.assert_allclose(answers[rows], expected, atol=1e-5)
    assert not answers[~rows].any()
    (tmp_path / teacher.FILE).write_bytes((tmp_path / teacher.FILE).read_bytes()[:-9])  # damaged: judged again
    np.testing.assert_array_equal(teacher.teacher_probabilities(FACES, tmp_path, fernet), answers)
    other = dataclasses.replace(FACES, images=255 - FACES.images)
    assert np.abs(teacher.teacher_probabilities(other, tmp_path, fernet)[rows] - expected).max() > 0.01


def test_a_teacher_of_other_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="--teacher fernet: tells angry"):
        teacher.load_teacher("fernet", FER2013[::-1])


def test_a_folder_holds_one_training_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fergan.workflows.classifiers.train.read_training_data", lambda *_: (FACES, None))
    options = ClassifierOptions(["faces.csv"], recipe="mini-xception", epochs=1, device="cpu")
    with training_in(tmp_path), pytest.raises(UsageError, match="another fergan process is at work on this training"):
        train_classifier(options, tmp_path)


def test_views_without_a_teacher_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name one with --teacher"):
        train_classifier(ClassifierOptions(["faces.csv"], teacher_views="ten"), tmp_path)


def test_a_student_and_its_teacher_are_of_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fergan.workflows.classifiers.train.read_training_data", lambda *_: (FACES, None))
    options = ClassifierOptions(["faces.csv"], recipe="mini-xception", epochs=1, teacher="fernet", device="cpu")
    model, _ = train_classifier(options, tmp_path)
    fernet, student = (read_card(path) for path in (bundled_classifiers()["fernet"], model))
    assert student["teacher"]["name"] == "fernet" and "teacher" not in student["data"]["record"]
    checksum = load_classifier("fernet").sha256
    assert checksum in family("student", student) and "student" not in family(checksum, fernet)
    assert {checksum, "student"} < family("both", {"ensemble": {"members": [described("one", "student", student)]}})
    assert checksum in family("warm", {"calibration": {"from_sha256": checksum}})
