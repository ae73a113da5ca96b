"""Bias, activation, gain and clamp in one call."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import cuda
from .cuda_kernels import Epilogue


class Activation(NamedTuple):
    """An activation function by its slope below 0, with the gain that StyleGAN2 gives it by default.

    The default gain keeps the second moment of a unit normal input near 1 (He et al. 2015, arXiv:1502.01852), so that
    equalised learning rates need no other constant.
    """

    slope: float
    gain: float


ACTIVATIONS = {"linear": Activation(1.0, 1.0), "lrelu": Activation(0.2, math.sqrt(2))}


def bias_act(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """``clamp(activation(x + bias) * gain)``, in this order; everything differentiable twice.

    Args:
        x: [N, C, ...], float16, float32 or float64.
        bias: [C]; cast to ``x.dtype``. None adds nothing.
        activation: a key of ``ACTIVATIONS``.
        gain: factor above 0 after the activation; None takes the table's (sqrt(2) for ``lrelu``).
        clamp: limit above 0 of the result's size (clamped elements get no gradient); None is no limit.

    Returns:
        a tensor of ``x``'s shape and dtype.

    On a GPU, one kernel makes it; what is clamped gets no gradient there even if it lies exactly on the limit.
    """
    if not cuda.takes(x, bias):
        return bias_act_reference(x, bias, activation=activation, gain=gain, clamp=clamp)
    entry = ACTIVATIONS[activation]
    return cuda.bias_act(x, bias, Epilogue(entry.slope, entry.gain if gain is None else gain, clamp))


def bias_act_reference(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """The reference for :func:`bias_act`, in PyTorch's own operations."""
    slope, default_gain = ACTIVATIONS[activation]
    gain = default_gain if gain is None else gain
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))
    y = x if slope == 1 else F.leaky_relu(x, slope)
    if gain != 1:
        y = y * gain
    if clamp is not None:
        y = y.clamp(-clamp, clamp)
    return y
