"""Bias, activation, gain and clamp in one call."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import cuda
from .cuda_kernels import Epilogue


class Activation(NamedTuple):
    """An activation function with the slope and the gain that StyleGAN2 gives it by default.

    The default gain keeps the second moment of a unit normal input near 1 (He et al. 2015, arXiv:1502.01852), so that
    equalised learning rates need no other constant.
    """

    function: Callable[[torch.Tensor, float], torch.Tensor]
    alpha: float
    gain: float


ACTIVATIONS = {
    "linear": Activation(lambda x, alpha: x, 0.0, 1.0),
    "lrelu": Activation(lambda x, alpha: F.leaky_relu(x, alpha), 0.2, math.sqrt(2)),
}


def bias_act(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    dim: int = 1,
    activation: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """``clamp(activation(x + bias) * gain)``, in this order; everything differentiable twice.

    Args:
        x: any shape, float16, float32 or float64.
        bias: [x.shape[dim]], added along ``dim``; cast to ``x.dtype``. None adds nothing.
        dim: the axis of ``x`` that the bias runs along.
        activation: a key of ``ACTIVATIONS``.
        alpha: slope of the negative half of ``lrelu``; None takes the table's 0.2.
        gain: factor after the activation; None takes the table's (sqrt(2) for ``lrelu``).
        clamp: limit the result to [-clamp, clamp] (clamped elements get no gradient); None does not.

    Returns:
        a tensor of ``x``'s shape and dtype.

    On a GPU, one kernel makes it; what is clamped gets no gradient there even if it lies exactly on the limit.
    """
    entry = ACTIVATIONS[activation]
    alpha = entry.alpha if alpha is None else alpha
    gain = entry.gain if gain is None else gain
    if cuda.takes(x, bias) and cuda.supports(activation, alpha, gain, clamp):
        return cuda.bias_act(x, bias, Epilogue(activation, alpha, gain, clamp, dim))
    return bias_act_reference(x, bias, dim=dim, activation=activation, alpha=alpha, gain=gain, clamp=clamp)


def bias_act_reference(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    dim: int = 1,
    activation: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """The reference for :func:`bias_act`, in PyTorch's own operations."""
    entry = ACTIVATIONS[activation]
    alpha = entry.alpha if alpha is None else alpha
    gain = entry.gain if gain is None else gain
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])
    y = entry.function(x, alpha)
    if gain != 1:
        y = y * gain
    if clamp is not None:
        y = y.clamp(-clamp, clamp)
    return y
