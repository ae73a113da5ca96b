"""Training a DCGAN from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..data.errors import UsageError
from ..stylegan.dcgan import DCGANConfig
from ..stylegan.training.augment import POLICIES
from ..stylegan.training.dcgan_recipe import DCGANRecipe, DCGANSettings
from ..stylegan.training.images import load_training_images
from ..stylegan.training.loop import LoopSettings, Progress, seeded, train_gan


def train_dcgan(
    data: str,
    out: str,
    on_step: Callable[[Progress], None],
    *,
    epochs: float,
    resolution: int,
    channels: str,
    base_channels: int,
    batch_size: int,
    learning_rate: float,
    augment: str,
    seed: int,
    device: str,
) -> Path:
    """Read the images and train; one snapshot and one sample grid an epoch. Options as in ``fergan train dcgan``."""
    policy = tuple(name.strip() for name in augment.split(",") if name.strip())
    unknown = [name for name in policy if name not in POLICIES]
    if unknown:
        raise UsageError(f"--augment: {unknown[0]!r} is not one of {', '.join(POLICIES)}")
    if resolution % 16:
        raise UsageError(f"--resolution {resolution} is not a multiple of 16; {resolution // 16 * 16} would be")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    images = load_training_images(data, resolution, int(channels))
    config = DCGANConfig(img_resolution=resolution, img_channels=int(channels), base_channels=base_channels)
    settings = DCGANSettings(learning_rate=learning_rate, augment=policy)
    recipe = seeded(seed, lambda: DCGANRecipe(config, settings, torch.device(device)))
    kimg = len(images) / 1000
    loop = LoopSettings(total_kimg=epochs * kimg, batch_size=batch_size, snapshot_kimg=kimg, seed=seed)
    return train_gan(recipe, images, out, loop, metadata={"data": Path(data).name}, on_step=on_step)
