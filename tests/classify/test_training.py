"""Training learns, resumes where it stopped, and refuses to mix settings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.augmentation import Augmentation
from fergan.classify.backend import keras
from fergan.classify.classifier import load_classifier
from fergan.classify.training import TrainingSettings, evaluate, train_classifier
from fergan.data.errors import DataError, UsageError
from fergan.data.fer2013 import FaceSet

LABELS = ("down", "up")


def striped_faces(n: int, seed: int = 0) -> FaceSet:
    """Noise with a bright upper or lower half: learnable within a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 120, (n, 48, 48))
    images[labels == 1, :24] += 100
    images[labels == 0, 24:] += 100
    usage = np.where(np.arange(n) < n * 2 // 3, "Training", "PublicTest")
    return FaceSet(images.astype(np.uint8), labels, usage, LABELS)


class StopAfter(keras.callbacks.Callback):
    """Dies in the middle of an epoch, as a killed process does: nothing after it is run."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("straight")
    return folder, train_classifier(FACES, folder, SETTINGS)


SETTINGS = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.02, warmup_epochs=0, ema=0.5)
FACES = striped_faces(384)


def test_it_learns_and_the_saved_model_scores_the_same(trained: tuple[Path, dict]) -> None:
    folder, scores = trained
    assert scores["accuracy"] >= 0.9
    faces = FACES.split("PublicTest")
    classifier = load_classifier(folder / "fernet.keras")
    assert classifier.labels == LABELS
    again = evaluate(classifier.predict(faces.images), faces.labels, LABELS)
    assert again["accuracy"] == scores["accuracy"]
    assert again["confusion"] == scores["confusion"]
    assert (folder / "log.csv").read_text().count("\n") == 7
    assert list((folder / "tensorboard").rglob("events*"))


def test_a_stopped_training_ends_like_one_that_was_not(trained: tuple[Path, dict], tmp_path: Path) -> None:
    faces = FACES
    with pytest.raises(KeyboardInterrupt):
        train_classifier(faces, tmp_path, SETTINGS, callbacks=(StopAfter(3),))
    train_classifier(faces, tmp_path, SETTINGS)
    straight, resumed = (load_classifier(folder / "fernet.keras") for folder in (trained[0], tmp_path))
    assert np.array_equal(straight.predict(faces.images), resumed.predict(faces.images))


def test_other_settings_or_missing_splits_are_refused(trained: tuple[Path, dict], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epochs was 6, is now 4"):
        train_classifier(FACES, trained[0], TrainingSettings(epochs=4, batch_size=16))
    with pytest.raises(DataError, match="PublicTest"):
        train_classifier(FACES.split("Training"), tmp_path, SETTINGS)


def test_augmentation_is_a_function_of_its_generator() -> None:
    faces = torch.arange(2 * 48 * 48, dtype=torch.float32).reshape(2, 1, 48, 48)
    targets = [torch.eye(2)]

    def once(how: Augmentation, seed: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return how(faces, targets, torch.Generator().manual_seed(seed))

    how = Augmentation(mixup=0.2)
    assert torch.equal(once(how, 1)[0], once(how, 1)[0])
    assert not torch.equal(once(how, 1)[0], once(how, 2)[0])
    assert torch.allclose(once(how, 1)[1][0].sum(dim=1), torch.ones(2))
    off = Augmentation(flip=0, rotation=0, shift=0, zoom=0, erase=0)
    assert torch.allclose(once(off, 1)[0], faces, atol=1e-2)
    mirrored = Augmentation(flip=1, rotation=0, shift=0, zoom=0, erase=0)
    assert torch.allclose(once(mirrored, 1)[0], faces.flip(3), atol=1e-2)
