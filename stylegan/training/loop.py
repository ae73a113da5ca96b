"""The one GAN training loop: batches, EMA, snapshots, resume, logs. What a step does is the trainer's business.

A batch, its latents and its augmentation are functions of the seed and the step number alone, and a snapshot holds
every other state, so that a training that was stopped and resumed ends with the same bytes as one that was not (on a
CPU).
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...runtime.distributed import rank, world_size
from ...runtime.errors import DataError, UsageError
from ...runtime.files import remove_leftovers, write_atomically, writing
from ...runtime.summaries import summary_writer
from .snapshots import (
    LoopSettings,
    Trainer,
    claim_folder,
    load_state,
    save_networks,
    save_state,
    spread,
    write_grid,
)
from .start import STATE_FILE

__all__ = ["STATE_FILE", "LoopSettings", "Progress", "Trainer", "seeded", "train_gan"]


COLLAPSED_SHARE, COLLAPSED_KIMG = 0.2, 20
"""A training has collapsed if its samples differ by less than this share of what real images do, this late."""


@dataclass(frozen=True)
class Progress:
    """The state of a training for a display: kimg done and to do, the last logged scalars, and a warning or none."""

    kimg: float
    total_kimg: float
    scalars: dict[str, float]
    warning: str = ""


def train_gan(
    trainer: Trainer,
    images: np.ndarray,
    folder: str | Path,
    settings: LoopSettings,
    *,
    classes: np.ndarray | None = None,
    metadata: dict[str, Any] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Path:
    """Train until ``settings.total_kimg``, going on from the folder's last snapshot; returns the generator's file.

    Args:
        trainer: the networks, already seeded (:func:`seeded`).
        images: uint8 [N, R, R, C], at least two batches of them.
        folder: receives ``generator.safetensors`` (the first moving average; the others are
            ``generator-emaKIMG.safetensors``), of a StyleGAN2 ``discriminator.safetensors``, ``training-state.pt``,
            ``reals.png``, ``fakes-KIMG.png`` a snapshot, ``training.json``, ``log.jsonl`` and ``tensorboard/``.
        settings: see :class:`LoopSettings`.
        classes: float32 [N, c_dim], the class of each image for a conditional generator.
        metadata: written into the generator file (data, licence, ...).
        on_step: called every 50 steps, after each snapshot, and with a warning.

    Raises:
        DataError: too few images, a full disk, or losses or weights that are no longer finite (the last good snapshot
            stays).
        UsageError: the folder holds a training with other settings.
    """
    folder = Path(folder)
    _require_batches(len(images), settings.batch_size)
    records = None
    if rank() == 0:  # the other processes compute, and write nothing
        records = _Records(folder, trainer, settings, images, metadata, on_step)
    data = torch.from_numpy(images).permute(0, 3, 1, 2)
    averages = [copy.deepcopy(trainer.modules["G"]).eval().requires_grad_(False) for _ in settings.ema_kimg]
    rates = Rates(trainer, settings)
    done = load_state(folder / STATE_FILE, trainer, averages, settings)
    if records:
        records.begin(done, data, classes)
    every = max(1, round(settings.snapshot_kimg * 1000 / settings.batch_size))
    try:
        for step in range(done + 1, settings.steps + 1):
            rates.set(step - 1)
            reals, chosen = _batch(data, step - 1, settings)
            shown = None if classes is None else torch.from_numpy(classes[chosen]).to(trainer.device)
            scalars = trainer.step(reals.to(trainer.device), shown, _rng(settings.seed, step, rank()))
            seen = step * settings.batch_size
            for half_life, average in zip(settings.ema_kimg, averages, strict=True):
                _update_average(average, trainer.modules["G"], seen, half_life, settings)
            snapshot = step == settings.steps or step % every == 0
            if snapshot or step % 50 == 0:
                values = _finite(scalars, [*trainer.modules.values(), *averages] if snapshot else (), folder, seen)
                if records:
                    records.write(seen, values)
            if records and snapshot:
                records.snapshot(averages, step)
    finally:
        if records:
            records.close()
    return folder / "generator.safetensors"


def _require_batches(images: int, batch_size: int) -> None:
    if images < 2 * batch_size:
        raise DataError(
            f"{images} images are too few for batches of {batch_size}; give more images or a smaller batch size"
        )
    if batch_size % world_size():
        raise UsageError(f"a batch of {batch_size} does not divide among {world_size()} processes")


def _finite(
    scalars: dict[str, torch.Tensor], networks: Iterable[nn.Module], folder: Path, seen: int
) -> dict[str, float]:
    values = {name: float(value) for name, value in scalars.items()}
    tensors = (tensor for network in networks for tensor in network.state_dict().values())
    if not all(map(math.isfinite, values.values())) or not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise DataError(
            f"{folder}: training diverged at {seen / 1000:.0f} kimg ({values}); "
            "the last good snapshot was kept; try a lower learning rate"
        )
    return values


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


class Rates:
    """The learning rates of a trainer's optimisers, from step to step."""

    def __init__(self, trainer: Trainer, settings: LoopSettings) -> None:
        groups = [group for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]
        self._trainer, self._settings = trainer, settings
        self._first = [group["lr"] for group in groups]

    def set(self, step: int) -> None:
        """Half a cosine from the first rates to ``final_rate`` of them: a function of the step alone."""
        last = self._settings.final_rate
        share = last + (1 - last) * (1 + math.cos(math.pi * min(1.0, step / self._settings.steps))) / 2
        groups = [group for optimizer in self._trainer.optimizers.values() for group in optimizer.param_groups]
        for first, group in zip(self._first, groups, strict=True):
            group["lr"] = first * share


def _update_average(average: nn.Module, module: nn.Module, seen: int, half_life: float, settings: LoopSettings) -> None:
    """EMA as in Karras et al. 2018 (arXiv:1710.10196): half of the average is younger than the half-life."""
    half_life = min(half_life * 1000, seen * settings.ema_rampup)
    keep = 0.5 ** (settings.batch_size / max(half_life, 1e-8))
    with torch.no_grad():
        pairs = zip(average.state_dict().values(), module.state_dict().values(), strict=True)
        for old, new in pairs:
            if old.is_floating_point():  # batch norm's running statistics are averaged like the weights
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


class _Records:
    """The files that the first process writes: scalars and samples, for people and programs, and snapshots."""

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        settings: LoopSettings,
        images: np.ndarray,
        metadata: dict[str, Any] | None,
        on_step: Callable[[Progress], None] | None,
    ) -> None:
        claim_folder(folder, trainer, settings, images, metadata)
        self._folder, self._trainer, self._settings = folder, trainer, settings
        self._metadata, self._on_step = metadata, on_step
        self._inputs = trainer.sample_inputs(64, _rng(settings.seed, 0))
        self._log, self._events = folder / "log.jsonl", folder / "tensorboard"
        self._warned = False

    def begin(self, done: int, data: torch.Tensor, classes: np.ndarray | None) -> None:
        """Start the clock after ``done`` steps, and forget what was written of later ones, which come again.

        Args:
            done: steps up to the snapshot.
            data: uint8 [N, C, R, R], whose first pictures are shown.
            classes: of the images, or None.
        """
        remove_leftovers(self._folder)
        reals = data[:64].float() / 127.5 - 1
        self._spread = spread(reals, None if classes is None else torch.from_numpy(classes[:64]))
        if done == 0:
            write_grid(self._folder / "reals.png", reals)
        self._before, self._started = done * self._settings.batch_size, time.monotonic()
        self._forget_later_lines()
        with writing(self._events):
            self._board = summary_writer(self._events, self._before + 1)

    def _forget_later_lines(self) -> None:
        """Cut the log off after the snapshot; a killed process may have left half a line, too."""
        lines = self._log.read_bytes().splitlines(keepends=True) if self._log.exists() else []
        kept = [line for line in lines if _logged_kimg(line) <= self._before / 1000]
        if kept != lines:
            write_atomically(self._log, b"".join(kept))

    def write(self, seen: int, values: dict[str, float]) -> None:
        """Add scalars to ``log.jsonl`` and TensorBoard, and tell the display."""
        speed = 3.6 * (seen - self._before) / (time.monotonic() - self._started)
        scalars = {**values, "speed/kimg_per_hour": speed}
        with writing(self._log), open(self._log, "a") as file:
            file.write(json.dumps({"kimg": seen / 1000, **scalars}) + "\n")
        with writing(self._events):
            for name, value in scalars.items():
                self._board.add_scalar(name, value, seen)
        self._now = Progress(seen / 1000, self._settings.total_kimg, values)
        if self._on_step:
            self._on_step(self._now)

    def snapshot(self, averages: list[nn.Module], step: int) -> None:
        """Draw samples, and write the networks and the state."""
        seen = step * self._settings.batch_size
        kimg = seen / 1000
        with torch.inference_mode():
            parts = zip(*(values.split(16) for values in self._inputs), strict=True)
            fakes = torch.cat([self._trainer.draw(averages[0], part) for part in parts]).cpu()
        grid = write_grid(self._folder / f"fakes-{round(kimg):06d}.png", fakes)
        with writing(self._events):
            self._board.add_image("fakes", grid, seen, dataformats="HWC")
        save_networks(self._folder, self._trainer, averages, self._settings, kimg, self._metadata)
        save_state(self._folder / STATE_FILE, self._trainer, averages, self._settings, step)
        if kimg >= COLLAPSED_KIMG:
            self._warn_if_alike(fakes, kimg)

    def _warn_if_alike(self, fakes: torch.Tensor, kimg: float) -> None:
        """Say once if the samples of a class are nearly one picture."""
        classes = self._inputs[1] if len(self._inputs) > 1 else None
        found, of_a_class = spread(fakes, classes), "" if classes is None else " of a class"
        if self._on_step and not self._warned and found < COLLAPSED_SHARE * self._spread:
            self._warned = True
            warning = (
                f"warning: at {kimg:.0f} kimg the samples{of_a_class} differ {found / self._spread:.0%} as much as "
                "real images do: training has collapsed; look at fakes-*.png, and try another seed or learning rate"
            )
            self._on_step(replace(self._now, warning=warning))

    def close(self) -> None:
        with writing(self._events):
            self._board.close()


def _logged_kimg(line: bytes) -> float:
    """The place of a line of the log; infinity where the line is not whole."""
    try:
        return float(json.loads(line)["kimg"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
