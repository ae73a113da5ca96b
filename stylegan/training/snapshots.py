"""The files of a training: networks, pictures, its settings, and the state from which it goes on."""

from __future__ import annotations

import dataclasses
import io
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...data.images import write_png
from ...runtime.claims import claim
from ...runtime.errors import DataError
from ...runtime.files import write_atomically
from ..checkpoints.native import save_generator
from ..networks import Discriminator
from .start import DISCRIMINATOR_FILE, save_discriminator


class Trainer(ABC):
    """An architecture's part of a training: its networks and optimisers, and what one step does to them.

    Attributes:
        architecture: of the networks.
        modules: the networks by name, and other state of the training; ``G`` is what the training is for.
        optimizers: by name.
    """

    architecture: str
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Adam]

    def __init__(
        self, config: Any, settings: Any, device: torch.device, class_shares: np.ndarray | None = None
    ) -> None:
        """``class_shares``: float [c_dim], how often each class is drawn for fakes; needed if c_dim is not 0."""
        self.config, self.settings, self.device = config, settings, device
        self.class_shares = None if class_shares is None else torch.as_tensor(class_shares, dtype=torch.float64)

    def sample_inputs(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, ...]:
        """z float32 [n, z_dim] ~ N(0, 1) and, where conditional, one-hot c float32 [n, c_dim], drawn as in the data."""
        z = torch.randn(n, self.config.z_dim, generator=rng).to(self.device)
        if self.class_shares is None:
            return (z,)
        drawn = torch.multinomial(self.class_shares, n, replacement=True, generator=rng)
        return z, F.one_hot(drawn, self.config.c_dim).float().to(self.device)

    @abstractmethod
    def draw(self, generator: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Images float32 [n, C, R, R] of a generator of this kind."""

    @abstractmethod
    def step(self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator) -> dict[str, torch.Tensor]:
        """Update the networks by one batch.

        Args:
            reals: float32 [N, C, R, R] in [-1, 1].
            classes: float32 [N, c_dim], or None for an unconditional generator.
            rng: CPU generator; the source of all randomness.

        Returns:
            Scalars to be logged, still on the device.
        """


@dataclass(frozen=True)
class LoopSettings:
    """Attributes:
    total_kimg: length of the training in thousands of images shown to D.
    batch_size: images per step.
    snapshot_kimg: distance between snapshots; at most this much is lost by a kill.
    ema_kimg: half-lives of the generator's moving averages; the first one's is *the* generator of the training, and
        the others leave the choice for afterwards (post-hoc EMA; Karras et al. 2023, arXiv:2312.02696).
    ema_rampup: a half-life is at most this share of what D has seen, so that early snapshots are not stale.
    final_rate: share of the learning rates that is left at the end, after half a cosine; 1 = they stay.
    xflip: show mirrored images too.
    seed: of initial weights, order, latents and augmentation.
    """

    total_kimg: float
    batch_size: int = 64
    snapshot_kimg: float = 30.0
    ema_kimg: tuple[float, ...] = (10.0,)
    ema_rampup: float = 0.05
    final_rate: float = 1.0
    xflip: bool = True
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return math.ceil(self.total_kimg * 1000 / self.batch_size)


def save_state(path: Path, trainer: Trainer, averages: list[nn.Module], settings: LoopSettings, step: int) -> None:
    """Write everything that a training needs to go on, to the bit."""
    halves = [f"{half_life:g}" for half_life in settings.ema_kimg]
    state = {
        "step": step,
        "averages": {half: average.state_dict() for half, average in zip(halves, averages, strict=True)},
        "modules": {name: module.state_dict() for name, module in trainer.modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trainer.optimizers.items()},
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(path, content.getvalue())


def load_state(path: Path, trainer: Trainer, averages: list[nn.Module], settings: LoopSettings) -> int:
    """Read it again, where there is one; returns the number of steps that were done."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=trainer.device, weights_only=True)
        for half_life, average in zip(settings.ema_kimg, averages, strict=True):
            average.load_state_dict(state["averages"][f"{half_life:g}"])
        for name, module in trainer.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in trainer.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return int(state["step"])
    except Exception as error:
        raise DataError(f"{path}: is not a training state of this kind ({error}); delete it to start over") from error


def save_networks(
    folder: Path,
    trainer: Trainer,
    averages: list[nn.Module],
    settings: LoopSettings,
    kimg: float,
    metadata: dict[str, Any] | None,
) -> None:
    """Write the averaged generators, and a StyleGAN2's discriminator, from which another training can start."""
    training = {**dataclasses.asdict(settings), **dataclasses.asdict(trainer.settings)}
    for place, (half_life, average) in enumerate(zip(settings.ema_kimg, averages, strict=True)):
        name = f"generator-ema{half_life:g}.safetensors" if place else "generator.safetensors"
        about = {**(metadata or {}), "kimg": kimg, "ema_kimg": half_life, "training": training}
        save_generator(folder / name, average, about)
    discriminator = trainer.modules["D"]
    if isinstance(discriminator, Discriminator):
        save_discriminator(folder / DISCRIMINATOR_FILE, discriminator)


def spread(images: torch.Tensor, classes: torch.Tensor | None) -> float:
    """How much pictures of one class differ: a pixel's standard deviation, root mean square over pixels and classes.

    Args:
        images: float32 [N, C, R, R].
        classes: [N, c_dim]; equal rows are one class. None = all are.

    Returns:
        NaN where no class has two pictures.
    """
    groups = torch.zeros(len(images), dtype=torch.long)
    if classes is not None:
        groups = torch.unique(classes, dim=0, return_inverse=True)[1]
    left = len(images) - int(groups.max()) - 1
    if not left:
        return math.nan
    means = torch.stack([images[groups == group].mean(dim=0) for group in range(int(groups.max()) + 1)])
    return math.sqrt(float((images - means[groups]).square().sum()) / (left * images[0].numel()))


def write_grid(path: Path, images: torch.Tensor) -> np.ndarray:
    """Eight rows of eight as one PNG; returns uint8 [H, W, C]."""
    from torchvision.utils import make_grid

    grid = make_grid(images[:64], nrow=8, padding=2)[: images.shape[1]]
    pixels = (grid * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    write_png(path, pixels)
    return pixels


def claim_folder(
    folder: Path, trainer: Trainer, settings: LoopSettings, images: np.ndarray, metadata: dict[str, Any] | None
) -> None:
    """Remember in the folder what is trained there; refuse to go on with something else. Only the length may grow."""
    wanted = {
        "architecture": trainer.architecture,
        **dataclasses.asdict(trainer.config),
        **dataclasses.asdict(trainer.settings),
        **dataclasses.asdict(settings),
        "images": list(images.shape),
        **{name: (metadata or {}).get(name) for name in ("init", "feature_loss")},
    }
    claim(folder / "training.json", wanted, "training", free=("total_kimg",))
