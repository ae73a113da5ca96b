"""The one GAN training loop: batches, EMA, snapshots, resume, logs. What a step does is the recipe's business.

A batch, its latents and its augmentation are functions of the seed and the step number alone, and a snapshot holds
every other state, so that a training that was stopped and resumed ends with the same bytes as one that was not (on a
CPU).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ...data.images import write_png
from ...runtime.distributed import rank, world_size
from ...runtime.errors import DataError, UsageError
from ...runtime.summaries import summary_writer
from ..checkpoints.native import save_generator

STATE_FILE = "training-state.pt"


class Recipe(Protocol):
    """An architecture's part of a training; see :class:`fergan.stylegan.training.dcgan.DCGANRecipe`."""

    architecture: str
    config: Any
    settings: Any
    device: torch.device
    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def sample_inputs(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, ...]: ...

    def draw(self, generator: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor: ...

    def step(
        self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator
    ) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class LoopSettings:
    """Attributes:
    total_kimg: length of the training in thousands of images shown to D.
    batch_size: images per step.
    snapshot_kimg: distance between snapshots; at most this much is lost by a kill.
    ema_kimg: half-life of the generator's moving average.
    ema_rampup: the half-life is at most this share of what D has seen, so that early snapshots are not stale.
    xflip: show mirrored images too.
    seed: of initial weights, order, latents and augmentation.
    """

    total_kimg: float
    batch_size: int = 64
    snapshot_kimg: float = 30.0
    ema_kimg: float = 10.0
    ema_rampup: float = 0.05
    xflip: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """What a display needs to know: after each step, kimg done and to do, and the last logged scalars."""

    kimg: float
    total_kimg: float
    scalars: dict[str, float]


def train_gan(
    recipe: Recipe,
    images: np.ndarray,
    folder: str | Path,
    settings: LoopSettings,
    *,
    classes: np.ndarray | None = None,
    metadata: dict[str, Any] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Path:
    """Train until ``settings.total_kimg``, going on from the folder's last snapshot if there is one.

    Args:
        recipe: the networks, already seeded (:func:`seeded`).
        images: uint8 [N, R, R, C], at least two batches of them.
        folder: receives ``generator.safetensors`` (the moving average), ``training-state.pt``, ``reals.png``,
            ``fakes-KIMG.png`` a snapshot, ``training.json``, ``log.jsonl`` and ``tensorboard/``.
        settings: see :class:`LoopSettings`.
        classes: float32 [N, c_dim], the class of each image for a conditional generator.
        metadata: written into the generator file (data, licence, ...).
        on_step: called after every step.

    Returns:
        The path of the generator file.

    Raises:
        DataError: too few images, or the losses are no longer finite (the last good snapshot stays).
        UsageError: the folder holds a training with other settings.
    """
    folder = Path(folder)
    if len(images) < 2 * settings.batch_size:
        raise DataError(
            f"{len(images)} images are too few for batches of {settings.batch_size}; "
            "give more images or a smaller batch size"
        )
    if settings.batch_size % world_size():
        raise UsageError(f"a batch of {settings.batch_size} does not divide among {world_size()} processes")
    first = rank() == 0  # the other processes compute, and write nothing
    if first:
        _claim(folder, recipe, settings, images)
    data = torch.from_numpy(images).permute(0, 3, 1, 2)
    average = copy.deepcopy(recipe.modules["G"]).eval().requires_grad_(False)
    inputs = recipe.sample_inputs(64, _rng(settings.seed, 0))
    log = _Log(folder) if first else None
    state = folder / STATE_FILE
    step = _load_state(state, recipe, average) if state.exists() else 0
    if step == 0 and first:
        _write_grid(folder / "reals.png", data[:64].float() / 127.5 - 1)

    total = math.ceil(settings.total_kimg * 1000 / settings.batch_size)
    every = max(1, round(settings.snapshot_kimg * 1000 / settings.batch_size))
    since, started = step, time.monotonic()
    while step < total:
        reals, chosen = _batch(data, step, settings)
        shown = None if classes is None else torch.from_numpy(classes[chosen]).to(recipe.device)
        scalars = recipe.step(reals.to(recipe.device), shown, _rng(settings.seed, step + 1, rank()))
        step += 1
        seen = step * settings.batch_size
        kimg = seen / 1000
        _update_average(average, recipe.modules["G"], seen, settings)
        if step % 50 == 0 or step == total or step % every == 0:
            values = {name: float(value) for name, value in scalars.items()}
            if not all(math.isfinite(value) for value in values.values()):
                raise DataError(
                    f"{folder}: training diverged at {kimg:.0f} kimg ({values}); "
                    "the last good snapshot was kept; try a lower learning rate"
                )
            rate = (step - since) * settings.batch_size / 1000 / (time.monotonic() - started)
            if log:
                log.write(seen, {**values, "speed/kimg_per_hour": 3600 * rate})
            if on_step and first:
                on_step(Progress(kimg, settings.total_kimg, values))
        if log and (step % every == 0 or step == total):
            with torch.inference_mode():
                parts = zip(*(values.split(16) for values in inputs), strict=True)
                fakes = torch.cat([recipe.draw(average, part) for part in parts]).cpu()
            log.image(seen, _write_grid(folder / f"fakes-{round(kimg):06d}.png", fakes))
            _save_generator(folder, recipe, average, settings, kimg, metadata)
            _save_state(state, recipe, average, step)
    if log:
        log.close()
    return folder / "generator.safetensors"


def seeded(seed: int, build: Callable[[], Any]) -> Any:
    """Build networks with initial weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _rng(seed: int, step: int, process: int = 0) -> torch.Generator:
    key = (seed, step, process) if process else (seed, step)
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def _batch(data: torch.Tensor, step: int, settings: LoopSettings) -> tuple[torch.Tensor, np.ndarray]:
    """This process's share of a batch, float32 [batch, C, R, R] in [-1, 1], and the images' places in the data.

    Step after step goes through one shuffled pass over the data after another.
    """
    per_epoch = len(data) // settings.batch_size
    epoch, index = divmod(step, per_epoch)
    rng = np.random.default_rng((settings.seed, epoch))
    chosen = rng.permutation(len(data))[index * settings.batch_size : (index + 1) * settings.batch_size]
    mirror = np.random.default_rng((settings.seed, epoch, index)).random(len(chosen)) < 0.5
    own = slice(rank(), None, world_size())
    chosen, mirror = chosen[own], mirror[own]
    batch = data[torch.from_numpy(chosen)].float() / 127.5 - 1
    if settings.xflip:
        batch = torch.where(torch.from_numpy(mirror)[:, None, None, None], batch.flip(3), batch)
    return batch, chosen


def _update_average(average: nn.Module, module: nn.Module, seen: int, settings: LoopSettings) -> None:
    """EMA as in Karras et al. 2018 (arXiv:1710.10196): half of the average is younger than the half-life."""
    half_life = min(settings.ema_kimg * 1000, seen * settings.ema_rampup)
    keep = 0.5 ** (settings.batch_size / max(half_life, 1e-8))
    with torch.no_grad():
        pairs = zip(average.state_dict().values(), module.state_dict().values(), strict=True)
        for old, new in pairs:
            if old.is_floating_point():  # batch norm's running statistics are averaged like the weights
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


def _save_state(path: Path, recipe: Recipe, average: nn.Module, step: int) -> None:
    state = {
        "step": step,
        "average": average.state_dict(),
        "modules": {name: module.state_dict() for name, module in recipe.modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in recipe.optimizers.items()},
    }
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _load_state(path: Path, recipe: Recipe, average: nn.Module) -> int:
    try:
        state = torch.load(path, map_location=recipe.device, weights_only=True)
        average.load_state_dict(state["average"])
        for name, module in recipe.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in recipe.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return int(state["step"])
    except Exception as error:
        raise DataError(f"{path}: is no training state of this kind ({error}); delete it to start over") from error


def _save_generator(
    folder: Path,
    recipe: Recipe,
    average: nn.Module,
    settings: LoopSettings,
    kimg: float,
    metadata: dict[str, Any] | None,
) -> None:
    save_generator(
        folder / "generator.safetensors",
        average,
        recipe.config,
        {
            **(metadata or {}),
            "kimg": kimg,
            "training": {**dataclasses.asdict(settings), **dataclasses.asdict(recipe.settings)},
        },
    )


def _write_grid(path: Path, images: torch.Tensor) -> np.ndarray:
    """Eight rows of eight as one PNG; returns uint8 [H, W, C]."""
    from torchvision.utils import make_grid

    grid = make_grid(images[:64], nrow=8, padding=2)[: images.shape[1]]
    pixels = (grid * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    write_png(path, pixels)
    return pixels


def _claim(folder: Path, recipe: Recipe, settings: LoopSettings, images: np.ndarray) -> None:
    """Remember in the folder what is trained there; refuse to go on with something else. Only the length may grow."""
    wanted = {
        "architecture": recipe.architecture,
        **dataclasses.asdict(recipe.config),
        **dataclasses.asdict(recipe.settings),
        **dataclasses.asdict(settings),
        "images": list(images.shape),
    }
    wanted = json.loads(json.dumps(wanted))
    path = folder / "training.json"
    if path.exists():
        found = json.loads(path.read_text())
        differing = [key for key in wanted if wanted[key] != found.get(key) and key != "total_kimg"]
        if differing:
            what = "; ".join(f"{key} was {found.get(key)}, is now {wanted[key]}" for key in differing)
            raise UsageError(f"{folder}: holds a training with other settings ({what}); choose another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(wanted, indent=2))
    os.replace(temporary, path)


class _Log:
    """Scalars and sample grids for people (TensorBoard) and programs (log.jsonl)."""

    def __init__(self, folder: Path) -> None:
        self.lines = folder / "log.jsonl"
        self.board = summary_writer(folder / "tensorboard")

    def write(self, seen: int, values: dict[str, float]) -> None:
        with open(self.lines, "a") as file:
            file.write(json.dumps({"kimg": seen / 1000, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, seen)

    def image(self, seen: int, pixels: np.ndarray) -> None:
        self.board.add_image("fakes", pixels, seen, dataformats="HWC")

    def close(self) -> None:
        self.board.close()
