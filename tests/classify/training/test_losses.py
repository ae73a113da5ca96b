"""The loss is torch's and the focal loss's paper's; classes weigh what scikit-learn or the settings say."""

import numpy as np
import pytest
import torch
from fergan.classify.training.losses import FocalCrossEntropy, class_weights
from fergan.runtime.errors import DataError, UsageError
from sklearn.utils.class_weight import compute_class_weight


def test_loss_is_torchs_and_focal_loss_the_papers() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(6, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 3, 6))
    weights = np.array([0.5, 1.0, 4.0])
    smooth = torch.nn.functional.one_hot(labels, 3) * 0.9 + 0.1 / 3
    expected = torch.nn.functional.cross_entropy(
        logits, labels, torch.from_numpy(weights).float(), label_smoothing=0.1, reduction="none"
    )
    torch.testing.assert_close(FocalCrossEntropy(0.0, weights).call(smooth, logits), expected)
    hard = torch.nn.functional.one_hot(labels, 3).float()
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(FocalCrossEntropy().call(hard, logits), cross_entropy)
    p = torch.softmax(logits, 1)[torch.arange(6), labels]
    torch.testing.assert_close(FocalCrossEntropy(2.0).call(hard, logits), (1 - p) ** 2 * cross_entropy)
    certain = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    FocalCrossEntropy(0.5).call(torch.tensor([[1.0, 0, 0]]), certain).sum().backward()
    assert torch.isfinite(certain.grad).all()


def test_class_weights_are_scikit_learns_or_as_named() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    names = ("angry", "disgust", "fear")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(class_weights("balanced", labels, names), expected)
    assert class_weights("none", labels, names) is None
    assert class_weights("disgust=5, fear=0.5", labels, names).tolist() == [1, 5, 0.5]
    for bad in ("sleepy=2", "angry", "angry=-1", "angry=nan"):
        with pytest.raises(UsageError, match="class_weights"):
            class_weights(bad, labels, names)
    with pytest.raises(DataError, match="fear"):
        class_weights("balanced", labels[:4], names)
