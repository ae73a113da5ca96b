"""Training generators from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.devices import choose_device
from ...runtime.distributed import process_group, world_size
from ...runtime.errors import UsageError
from ...stylegan.checkpoints import read_checkpoint
from ...stylegan.dcgan import DCGANConfig
from ...stylegan.generator import find_checkpoint
from ...stylegan.networks import StyleGAN2
from ...stylegan.training.dcgan import DCGANRecipe, DCGANSettings
from ...stylegan.training.diffaugment import POLICIES
from ...stylegan.training.images import load_training_set
from ...stylegan.training.loop import LoopSettings, Progress, seeded, train_gan
from ...stylegan.training.stylegan2 import StyleGAN2Recipe, StyleGAN2Settings, default_config, default_r1_gamma


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
    images = load_training_set(data, resolution, int(channels)).images
    config = DCGANConfig(img_resolution=resolution, img_channels=int(channels), base_channels=base_channels)
    settings = DCGANSettings(learning_rate=learning_rate, augment=policy)
    if world_size() > 1:
        raise UsageError("a DCGAN is trained by one process; start it without torchrun")
    recipe = seeded(seed, lambda: DCGANRecipe(config, settings, choose_device(device)))
    kimg = len(images) / 1000
    loop = LoopSettings(total_kimg=epochs * kimg, batch_size=batch_size, snapshot_kimg=kimg, seed=seed)
    return train_gan(recipe, images, out, loop, metadata={"data": Path(data).name}, on_step=on_step)


def train_stylegan2(
    data: str,
    out: str,
    on_step: Callable[[Progress], None],
    *,
    kimg: float,
    resolution: int,
    channels: str,
    cond: bool,
    width: str,
    init: str | None,
    batch_size: int,
    part_size: int | None,
    learning_rate: float,
    gamma: float | None,
    augment: str,
    mirror: bool,
    snapshot_kimg: float,
    fp32: bool,
    seed: int,
    device: str,
) -> Path:
    """Read the images and train. Options as in ``fergan train stylegan2``."""
    if resolution & (resolution - 1):
        below = 2 ** (resolution.bit_length() - 1)
        raise UsageError(f"--resolution {resolution} is not a power of two; {below} or {2 * below} would be")
    for option, size in (("--batch-size", batch_size), ("--part-size", part_size or batch_size)):
        if size % 4 or batch_size % size:
            raise UsageError(
                f"{option} {size}: D compares images in groups of four, so give a multiple of 4 that divides the batch"
            )
    images = load_training_set(data, resolution, int(channels), cond)
    c_dim = 0 if images.classes is None else images.classes.shape[1]
    shares = None if images.classes is None else images.classes.mean(axis=0)
    settings = StyleGAN2Settings(
        learning_rate=learning_rate,
        r1_gamma=default_r1_gamma(resolution, batch_size) if gamma is None else gamma,
        augment=augment,
        part_size=part_size,
    )
    loop = LoopSettings(
        total_kimg=kimg,
        batch_size=batch_size,
        snapshot_kimg=snapshot_kimg,
        ema_kimg=batch_size * 10 / 32,
        xflip=mirror,
        seed=seed,
    )
    with process_group(choose_device(device)) as own:
        config = default_config(resolution, int(channels), c_dim, width, half=own.type == "cuda" and not fp32)
        start = None if init is None else _start(init, config)
        if start is not None:
            config = start.config
        recipe = seeded(seed, lambda: StyleGAN2Recipe(config, settings, own, shares))
        if start is not None:
            recipe.G.load_state_dict(start.state_dict())
        metadata: dict[str, Any] = {"data": Path(data).name, **({} if init is None else {"init": Path(init).name})}
        return train_gan(recipe, images.images, out, loop, classes=images.classes, metadata=metadata, on_step=on_step)


def _start(init: str, config: Any) -> StyleGAN2:
    """The generator to start from, which must draw images of the kind that the data are made to."""
    path = find_checkpoint(init)
    network = read_checkpoint(path).generator
    if not isinstance(network, StyleGAN2):
        raise UsageError(f"--init {init}: is no StyleGAN2")
    for field in ("img_resolution", "img_channels", "c_dim"):
        there, wanted = getattr(network.config, field), getattr(config, field)
        if there != wanted:
            raise UsageError(f"--init {init}: has {field} {there}, but this training has {wanted}")
    return network
