"""The layers that generator and discriminator share."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..ops import bias_act, downsample2d, setup_filter, upsample2d


def normal(*shape: int, std: float = 1.0) -> nn.Parameter:
    """A parameter drawn from N(0, std^2)."""
    return nn.Parameter(torch.empty(shape).normal_(0, std))


class FullyConnectedLayer(nn.Module):
    """x @ W^T + b with an equalised learning rate: weights are stored at unit variance and scaled when used."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = normal(out_features, in_features, std=1 / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, in_features] -> [N, out_features]."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        bias = self.bias.to(x.dtype) * self.bias_gain
        if self.activation == "linear":
            return torch.addmm(bias, x, weight.t())
        return bias_act(x @ weight.t(), bias, activation=self.activation)


class SkipLayer(nn.Module):
    """The 1x1 convolution without bias around a residual block, resampling by two ([1] figure 7c)."""

    resample_filter: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        up: int = 1,
        down: int = 1,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.weight = normal(out_channels, in_channels, 1, 1)
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", setup_filter(resample_filter))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, Cin, R, R] -> [N, C, up*R/down, up*R/down], scaled by sqrt(1/2) to make room for the other branch."""
        weight = (self.weight * (self.weight_gain * math.sqrt(0.5))).to(x.dtype)
        if self.down > 1:
            x = downsample2d(x, self.resample_filter, self.down)
        x = nn.functional.conv2d(x, weight)
        return upsample2d(x, self.resample_filter, self.up) if self.up > 1 else x
