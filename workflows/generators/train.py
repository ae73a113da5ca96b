"""Training generators from files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import nn

from ...runtime.claims import training_in
from ...runtime.devices import bfloat16_is_faster, choose_device
from ...runtime.distributed import process_group, rank, world_size
from ...runtime.errors import UsageError, counted
from ...runtime.files import printable
from ...stylegan.dcgan import DCGANConfig, DCGANGenerator
from ...stylegan.generator import load_generator
from ...stylegan.networks import StyleGAN2Config
from ...stylegan.training.dcgan import DCGANSettings, DCGANTrainer
from ...stylegan.training.diffaugment import POLICIES
from ...stylegan.training.feature_judge import FeatureJudge
from ...stylegan.training.images import TrainingSet, load_training_set
from ...stylegan.training.loop import LoopSettings, Progress, seeded, train_gan
from ...stylegan.training.start import Start, grown, read_start, take_over
from ...stylegan.training.stylegan2 import StyleGAN2Settings, StyleGAN2Trainer, default_config, default_r1_gamma
from ...stylegan.zoo import find_checkpoint
from .differentiable import fernet_features

HEAD_START = 300
"""Steps in which a DCGAN's new D learns alone, where G begins with the weights of ``--init``; two epochs at most."""
FEATURE_START = 0.8
"""The share of a training after which fernet's features judge too, with ``--feature-loss``."""


def train_dcgan(
    data: str,
    out: str,
    on_step: Callable[[Progress], None],
    *,
    epochs: float,
    resolution: int,
    channels: str,
    cond: bool,
    base_channels: int,
    batch_size: int,
    learning_rate: float,
    diffaugment: str,
    precision: str | None,
    init: str | None,
    seed: int,
    device: str,
) -> Path:
    """Read the images and train; one snapshot and one sample grid an epoch. Options as in ``fergan train dcgan``."""
    policy = tuple(name.strip() for name in diffaugment.split(",") if name.strip())
    unknown = [name for name in policy if name not in POLICIES]
    if unknown:
        raise UsageError(f"--diffaugment: {unknown[0]!r} is not one of {', '.join(POLICIES)}")
    if resolution % 16:
        raise UsageError(f"--resolution {resolution} is not a multiple of 16; {resolution // 16 * 16} would be")
    images = _training_set(data, resolution, int(channels), cond)
    shares = None if images.classes is None else _class_shares(data, images.classes)
    config = DCGANConfig(
        img_resolution=resolution,
        img_channels=int(channels),
        base_channels=base_channels,
        c_dim=0 if shares is None else len(shares),
    )
    if world_size() > 1:
        raise UsageError("a DCGAN is trained by one process; start it without torchrun")
    own = choose_device(device)
    settings = DCGANSettings(
        learning_rate,
        augment=policy,
        precision=_precision(precision, own.type)[1],
        d_rate=2.5 if cond else 1.0,
        head_start=0 if init is None else min(HEAD_START, 2 * len(images.images) // batch_size),
    )
    trainer = seeded(seed, lambda: DCGANTrainer(config, settings, own, shares))
    kimg = len(images.images) / 1000
    loop = LoopSettings(total_kimg=epochs * kimg, batch_size=batch_size, snapshot_kimg=kimg, seed=seed)
    metadata = _metadata(data, images)
    if init is not None:
        metadata["init"] = {"file": Path(init).name, "sha256": _begin_with(trainer.modules["G"], init, images.names)}
    with training_in(out):
        return train_gan(trainer, images.images, out, loop, classes=images.classes, metadata=metadata, on_step=on_step)


def _begin_with(generator: nn.Module, init: str, names: Sequence[str] | None) -> str | None:
    """Give a new DCGAN the weights of another, which may be unconditional; returns the sha256 of its file."""
    start = load_generator(init, device="cpu")
    own, weights = generator.state_dict(), start.network.state_dict()
    odd = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    others = start.class_names if start.c_dim and names is not None else ()
    if odd or not isinstance(start.network, DCGANGenerator) or (others and others != tuple(names or ())):
        raise UsageError(f"--init {init}: is not a DCGAN of this size, channels and width, with these classes or none")
    generator.load_state_dict({**own, **weights})
    return start.sha256


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
    final_learning_rate: float | None,
    gamma: float | None,
    path_length: float,
    style_mixing: float,
    relativistic: bool,
    feature_loss: float,
    augment: str,
    mirror: bool,
    snapshot_kimg: float,
    ema_kimg: tuple[float, ...] | None,
    precision: str | None,
    seed: int,
    device: str,
) -> Path:
    """Read the images and train. Options as in ``fergan train stylegan2``."""
    _check_sizes(resolution, batch_size, part_size or batch_size)
    images = _training_set(data, resolution, int(channels), cond)
    shares = None if images.classes is None else images.classes.mean(axis=0)
    with process_group(choose_device(device)) as own:
        half, block_precision = _precision(precision, own.type)
        settings = StyleGAN2Settings(
            learning_rate=learning_rate,
            r1_gamma=default_r1_gamma(resolution, batch_size) if gamma is None else gamma,
            pl_weight=path_length,
            style_mixing=style_mixing,
            augment=augment,
            relativistic=relativistic,
            precision=block_precision,
            part_size=part_size,
        )
        loop = LoopSettings(
            total_kimg=kimg,
            batch_size=batch_size,
            snapshot_kimg=snapshot_kimg,
            ema_kimg=ema_kimg or (batch_size * 10 / 32,),
            final_rate=1.0 if final_learning_rate is None else final_learning_rate / learning_rate,
            xflip=mirror,
            seed=seed,
        )
        wanted = default_config(resolution, int(channels), 0 if shares is None else len(shares), width, half)
        start, config = _start(init, wanted)
        judge, metadata = _feature_judge(feature_loss, loop, _metadata(data, images))
        trainer = seeded(seed, lambda: StyleGAN2Trainer(config, settings, own, shares, judge))
        if start is not None:
            metadata["init"] = {"file": Path(init or "").name, "discriminator": take_over(start, trainer.G, trainer.D)}
        with training_in(out):
            return train_gan(
                trainer, images.images, out, loop, classes=images.classes, metadata=metadata, on_step=on_step
            )


def _start(init: str | None, wanted: StyleGAN2Config) -> tuple[Start | None, StyleGAN2Config]:
    """The start that ``--init`` names, and the configuration of the training that starts from it."""
    start = None if init is None else read_start(find_checkpoint(init))
    return start, wanted if start is None else grown(start.config, wanted)


def _feature_judge(
    weight: float, loop: LoopSettings, metadata: dict[str, Any]
) -> tuple[FeatureJudge | None, dict[str, Any]]:
    """The judge of the last fifth, where its weight is not 0, and the metadata with what is recorded of it."""
    if not weight:
        return None, metadata
    features, width, about = fernet_features()
    first = round(FEATURE_START * loop.steps)
    judge = seeded(loop.seed, lambda: FeatureJudge(features, width, weight=weight, first_step=first))
    return judge, {**metadata, "feature_loss": {"weight": weight, "start": FEATURE_START, **about}}


def _check_sizes(resolution: int, batch_size: int, part_size: int) -> None:
    if resolution & (resolution - 1):
        below = 2 ** (resolution.bit_length() - 1)
        raise UsageError(f"--resolution {resolution} is not a power of two; {below} or {2 * below} would be")
    for option, size in (("--batch-size", batch_size), ("--part-size", part_size)):
        if size % 4 or batch_size % size:
            raise UsageError(
                f"{option} {size}: D compares images in groups of four, so give a multiple of 4 that divides the batch"
            )


def _training_set(data: str, resolution: int, channels: int, cond: bool) -> TrainingSet:
    """The images, after a word on those that are left out."""
    images = load_training_set(data, resolution, channels, cond)
    if images.unread and rank() == 0:
        first = printable(images.unread[0])
        click.echo(
            f"left out: {counted(len(images.unread), 'image')} that cannot be read here, such as {first}", err=True
        )
    return images


def _precision(wanted: str | None, device: str) -> tuple[bool, str]:
    """Whether the top blocks run in float16, and the precision of all blocks."""
    if device == "cuda" and wanted in (None, "auto"):
        return True, "float32"
    if wanted == "auto":
        return False, "bfloat16" if bfloat16_is_faster() else "float32"
    return False, wanted or "float32"


def _metadata(data: str, images: TrainingSet) -> dict[str, Any]:
    about: dict[str, Any] = {"data": Path(data).name}
    return about if images.names is None else {**about, "classes": list(images.names)}


def _class_shares(data: str, classes: np.ndarray) -> np.ndarray:
    if not np.array_equal(classes.sum(axis=1), classes.max(axis=1)):
        raise UsageError(f"{data}: its labels are lists of numbers; a DCGAN needs one class for each image")
    return classes.mean(axis=0)
