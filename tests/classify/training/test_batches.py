"""What a batch's targets are made of."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.classifier import load_classifier
from fergan.classify.recipes import Augmentation, TrainingSettings
from fergan.classify.training.batches import Batches
from fergan.data.face_set import FaceSet
from fergan.data.labels import FER2013

PLAIN = Augmentation(flip=0, rotation=0, shift=0, zoom=0, erase=0)


def test_a_teacher_has_its_share_of_the_targets() -> None:
    labels = np.array([0, 1, 2, 1])
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 48, 48), np.uint8)
    faces = FaceSet(images, labels, np.full(4, "Training"), ("angry", "happy", "sad"))
    answers = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    settings = TrainingSettings(
        batch_size=4, label_smoothing=0.0, teacher_weight=0.25, teacher_temperature=2.0, augmentation=PLAIN
    )
    shown, targets = Batches(faces, None, settings, teacher=answers)[0]
    order = torch.round(shown[:, 24, 24, 0]).long().numpy()
    softer = np.sqrt(answers) / np.sqrt(answers).sum(axis=1, keepdims=True)
    expected = 0.75 * np.eye(3)[labels] + 0.25 * softer
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_allclose(targets.numpy(), expected[order], atol=1e-6)


def test_a_teacher_judges_what_the_student_sees() -> None:
    teacher = load_classifier("fernet", device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    faces = FaceSet(images, np.arange(8) % 7, np.full(8, "Training"), FER2013)
    mixing = dataclasses.replace(PLAIN, flip=0.5, rotation=20, erase=0.5, mixup=0.4, cutmix=1.0)
    settings = TrainingSettings(batch_size=8, teacher_weight=0.75, teacher_temperature=1.0, augmentation=mixing)
    shown, targets = Batches(faces, None, settings, teacher=teacher)[0]
    same, without = Batches(faces, None, settings)[0]
    assert torch.equal(shown, same)
    answers = teacher.predict(shown[..., 0].round().to(torch.uint8).numpy())
    np.testing.assert_allclose(targets, 0.25 * without.numpy() + 0.75 * answers, atol=1e-5)


def test_a_teacher_is_not_asked_again_about_batches_that_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = load_classifier("fernet", device="cpu")
    asked: list[int] = []
    monkeypatch.setattr(teacher, "predict", lambda faces: asked.append(len(faces)) or np.eye(7, dtype=np.float32)[:4])
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48), dtype=np.uint8)
    faces = FaceSet(images, np.arange(8) % 7, np.full(8, "Training"), FER2013)
    settings = TrainingSettings(batch_size=4, teacher_cycle=2)
    batches = Batches(faces, None, settings, teacher=teacher, folder=tmp_path / "teacher")
    seen = []
    for epoch in range(3):
        batches.start_epoch(epoch)
        seen.append(torch.cat([batches[index][part].flatten() for index in (0, 1) for part in (0, 1)]))
    assert asked == [4, 4, 4, 4]
    assert torch.equal(seen[2], seen[0]) and not torch.equal(seen[1], seen[0])

    batches.start_epoch(1)
    resumed = Batches(faces, None, settings, teacher=teacher, folder=tmp_path / "teacher")
    resumed.start_epoch(3)
    for index in (0, 1):
        for old, new in zip(batches[index], resumed[index], strict=True):
            assert torch.equal(old, new)
    assert asked == [4, 4, 4, 4]
