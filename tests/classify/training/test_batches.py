"""What a batch's targets are made of."""

import numpy as np
import torch
from fergan.classify.recipes import Augmentation, TrainingSettings
from fergan.classify.training.batches import Batches
from fergan.data.face_set import FaceSet

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
