"""The DCGAN, its trainer, and what a stop and a resume do to it."""

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fergan.runtime.errors import DataError, UsageError
from fergan.runtime.files import temporary_path
from fergan.stylegan.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from fergan.stylegan.generator import load_generator
from fergan.stylegan.training import loop as loop_module
from fergan.stylegan.training.dcgan import DCGANSettings, DCGANTrainer
from fergan.stylegan.training.diffaugment import diff_augment
from fergan.stylegan.training.loop import LoopSettings, Progress, seeded, train_gan
from fergan.stylegan.training.snapshots import spread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONFIG = DCGANConfig(z_dim=8, img_resolution=32, base_channels=8)


def discs(n: int) -> np.ndarray:
    """Bright discs of varying place and size on a dark ground: uint8 [n, 32, 32, 1]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    center, radius = rng.uniform(12, 20, (n, 2, 1, 1)), rng.uniform(5, 10, (n, 1, 1))
    inside = (y - center[:, 0]) ** 2 + (x - center[:, 1]) ** 2 < radius**2
    return np.where(inside, 220, 30).astype(np.uint8)[..., None]


def train(folder: Path, kimg: float, **changes: object) -> Path:
    settings = DCGANSettings(learning_rate=2e-3)
    trainer = seeded(0, lambda: DCGANTrainer(CONFIG, settings, torch.device("cpu")))
    loop = LoopSettings(**{"total_kimg": kimg, "batch_size": 16, "snapshot_kimg": 0.16, "ema_kimg": (0.2,), **changes})
    return train_gan(trainer, discs(128), folder, loop)


def test_shapes_and_published_sizes() -> None:
    config = DCGANConfig(z_dim=100, img_resolution=48, base_channels=64)
    generator, discriminator = DCGANGenerator(config), DCGANDiscriminator(config)
    images = generator(torch.randn(2, 100))
    assert images.shape == (2, 1, 48, 48)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (2, 1)
    # the figure for a 48 px, 1-channel, 64-wide generator, and one bias that the last layer has beyond it
    assert sum(p.numel() for p in generator.parameters()) == 3_216_256 + 1


def test_training_moves_the_samples_towards_the_data(tmp_path: Path) -> None:
    path = train(tmp_path, 3.2)
    fakes = load_generator(path, device="cpu").generate(range(64)).astype(float)
    data = discs(128).astype(float)
    untrained = seeded(0, lambda: DCGANGenerator(CONFIG)).eval()
    with torch.inference_mode():
        before = untrained(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
    before = before.numpy().transpose(0, 2, 3, 1) * 127.5 + 128
    distance = {name: np.abs(x.mean(0) - data.mean(0)).mean() for name, x in (("before", before), ("after", fakes))}
    assert distance["after"] < 0.5 * distance["before"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["kimg"] == 3.2
    assert {"loss/D", "loss/G", "speed/kimg_per_hour"} <= lines[-1].keys()
    assert (tmp_path / "fakes-000003.png").exists()
    assert (tmp_path / "reals.png").exists()
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.kimg > 0.2:  # after the first snapshot, before the second
            raise Killed

    straight = train(tmp_path / "straight", 0.64)
    trainer = seeded(0, lambda: DCGANTrainer(CONFIG, DCGANSettings(learning_rate=2e-3), torch.device("cpu")))
    loop = LoopSettings(total_kimg=0.64, batch_size=16, snapshot_kimg=0.16, ema_kimg=(0.2,))
    with pytest.raises(Killed):
        train_gan(trainer, discs(128), tmp_path / "killed", loop, on_step=kill)
    resumed = train(tmp_path / "killed", 0.64)
    assert straight.read_bytes() == resumed.read_bytes()


def test_a_resumed_training_logs_each_step_once(tmp_path: Path) -> None:
    """A killed process leaves scalars of steps after the last snapshot, half a line and files in the making."""
    train(tmp_path, 0.32)
    state, log = (tmp_path / "training-state.pt").read_bytes(), tmp_path / "log.jsonl"
    train(tmp_path, 0.64)
    (tmp_path / "training-state.pt").write_bytes(state)
    with log.open("a") as file:
        file.write('{"kimg": 0.8, "loss')
    temporary_path(log).write_bytes(b"half")
    time.sleep(1.1)  # event files are read in the order of their seconds
    train(tmp_path, 0.8)
    expected = [0.16, 0.32, 0.48, 0.64, 0.8]
    assert [json.loads(line)["kimg"] for line in log.read_text().splitlines()] == expected
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss/D")] == [round(1000 * kimg) for kimg in expected]
    assert not list(tmp_path.glob(".fergan-*"))


def test_a_full_disk_is_told_in_one_error(tmp_path: Path) -> None:
    train(tmp_path, 0.16)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    state = (tmp_path / "training-state.pt").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(state) - 1, hard))
    try:
        with pytest.raises(DataError, match=r"training-state\.pt: cannot be written"):
            train(tmp_path, 0.32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "training-state.pt").read_bytes() == state
    assert not list(tmp_path.glob(".fergan-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_that_cannot_grow_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"

    def fill_disk(progress: Progress) -> None:
        log.unlink()
        log.symlink_to("/dev/full")

    trainer = seeded(0, lambda: DCGANTrainer(CONFIG, DCGANSettings(), torch.device("cpu")))
    loop = LoopSettings(total_kimg=0.32, batch_size=16, snapshot_kimg=0.16, ema_kimg=(0.2,))
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be written: the disk is full"):
        train_gan(trainer, discs(128), tmp_path, loop, on_step=fill_disk)


def test_a_conditional_dcgan_learns_its_classes(tmp_path: Path) -> None:
    classes = np.eye(2, dtype=np.float32)[np.arange(128) % 2]
    images = (
        np.where(classes[:, 1, None, None, None] > 0, 220, 30).astype(np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    )
    config = DCGANConfig(z_dim=8, img_resolution=32, base_channels=8, c_dim=2)
    settings = DCGANSettings(learning_rate=2e-3)
    trainer = seeded(0, lambda: DCGANTrainer(config, settings, torch.device("cpu"), classes.mean(axis=0)))
    loop = LoopSettings(total_kimg=2.4, batch_size=16, snapshot_kimg=2.4, ema_kimg=(0.2,))
    names = {"classes": ["dark", "bright"]}
    generator = load_generator(
        train_gan(trainer, images, tmp_path, loop, classes=classes, metadata=names), device="cpu"
    )
    dark, bright = (generator.generate(range(8), class_index=name).astype(float) for name in ("dark", "bright"))
    assert bright.mean() > dark.mean() + 100
    assert np.array_equal(dark, generator.generate(range(8), class_index=0))
    with pytest.raises(UsageError, match=r"there is no class disgust: .* classes 0 to 1 \(dark, bright\)"):
        generator.generate([0], class_index="disgust")


def test_the_classes_cannot_drown_the_latent() -> None:
    config = DCGANConfig(z_dim=100, base_channels=8, c_dim=7)
    trainer = seeded(0, lambda: DCGANTrainer(config, DCGANSettings(), torch.device("cpu"), np.full(7, 1 / 7)))
    generator = trainer.modules["G"]
    z, classes = trainer.sample_inputs(64, torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = spread(trainer.draw(generator, (z, classes)), classes)
        generator.layers[0].weight[:100] *= 0.1  # a training that neglects z
        after = spread(trainer.draw(generator, (z, classes)), classes)
    assert after > 0.9 * before


@pytest.mark.parametrize("kimg", [0.16, 0.64])
def test_samples_that_are_all_alike_are_noticed(tmp_path: Path, kimg: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "COLLAPSED_KIMG", 0.3)
    trainer = seeded(0, lambda: DCGANTrainer(CONFIG, DCGANSettings(), torch.device("cpu")))
    next(iter(trainer.modules["G"].layers)).weight.data.zero_()  # z is lost
    warnings = []

    def note(progress: Progress) -> None:
        if progress.warning:
            warnings.append(progress.warning)

    trainer.step = lambda *given: {"loss/D": torch.tensor(1.386)}  # type: ignore
    loop = LoopSettings(total_kimg=kimg, batch_size=16, snapshot_kimg=0.16, ema_kimg=(0.2,))
    train_gan(trainer, discs(128), tmp_path, loop, on_step=note)
    if kimg < 0.3:
        assert not warnings
    else:
        (line,) = warnings  # once, though two snapshots show it
        assert "the samples differ 0% as much as real images do: training has collapsed" in line


def test_spread_looks_within_classes() -> None:
    dark_and_bright = torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    classes = torch.eye(2)[[0, 0, 1, 1]]
    assert spread(dark_and_bright, None) == pytest.approx(3**-0.5)
    assert spread(dark_and_bright, classes) == 0
    assert math.isnan(spread(dark_and_bright, torch.eye(4)))


def test_refusals(tmp_path: Path) -> None:
    train(tmp_path, 0.16)
    with pytest.raises(UsageError, match="batch_size was 16, is now 8"):
        train(tmp_path, 0.16, batch_size=8)
    with pytest.raises(DataError, match="too few"):
        train(tmp_path / "new", 0.16, batch_size=128)
    (tmp_path / "training-state.pt").write_bytes(b"junk")
    with pytest.raises(DataError, match="training-state.pt"):
        train(tmp_path, 0.32)


@pytest.mark.parametrize("c_dim", [0, 2])
def test_diverged_training_keeps_the_last_snapshot(tmp_path: Path, c_dim: int) -> None:
    """Where D is conditional, it breaks while it learns alone."""
    classes = np.eye(2, dtype=np.float32)[np.arange(128) % 2] if c_dim else None

    def train(kimg: float, broken: bool) -> Path:
        config = DCGANConfig(z_dim=8, img_resolution=32, base_channels=8, c_dim=c_dim)
        settings = DCGANSettings(learning_rate=2e-3, head_start=100 * c_dim)
        shares = None if classes is None else classes.mean(axis=0)
        trainer = seeded(0, lambda: DCGANTrainer(config, settings, torch.device("cpu"), shares))
        step = trainer.step

        def break_and_step(*given: Any) -> dict[str, torch.Tensor]:
            next(trainer.modules["D"].parameters()).data.fill_(math.nan)
            scalars: dict[str, torch.Tensor] = step(*given)
            return scalars

        trainer.step = break_and_step if broken else step
        loop = LoopSettings(total_kimg=kimg, batch_size=16, snapshot_kimg=0.16, ema_kimg=(0.2,))
        return train_gan(trainer, discs(128), tmp_path, loop, classes=classes)

    path = train(0.16, broken=False)
    good = path.read_bytes()
    with pytest.raises(DataError, match="diverged"):
        train(0.48, broken=True)
    assert path.read_bytes() == good


@pytest.mark.parametrize("policy", ["color", "translation", "cutout"])
def test_augmentation_is_differentiable_and_repeatable(policy: str) -> None:
    images = torch.rand(4, 3, 16, 16, requires_grad=True)

    def once(seed: int) -> torch.Tensor:
        return diff_augment(images, (policy,), torch.Generator().manual_seed(seed))

    assert once(0).shape == images.shape
    assert torch.equal(once(0), once(0))
    assert not torch.equal(once(0), once(1))
    once(0).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
