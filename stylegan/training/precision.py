"""The number format in which the blocks of a StyleGAN2 compute while it is trained; weights stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..networks.discriminator import DiscriminatorBlock
from ..networks.generator import SynthesisBlock


def set_compute_dtype(network: nn.Module, dtype: torch.dtype | None) -> None:
    """Have the blocks above 4x4 compute in ``dtype``; None for that of the weights."""
    for module in network.modules():
        if isinstance(module, DiscriminatorBlock) or (isinstance(module, SynthesisBlock) and not module.is_first):
            module.compute_dtype = dtype


@contextmanager
def full_precision(network: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Compute in float32 for a while, for instance where gradients are squared, and in ``dtype`` again afterwards."""
    set_compute_dtype(network, None)
    try:
        yield
    finally:
        set_compute_dtype(network, dtype)
