"""The StyleGAN2 trainer: its losses, its augmentation, its data, and what a stop and a resume do to a training."""

import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fergan.data.images import write_png
from fergan.runtime.errors import DataError
from fergan.stylegan.generator import load_generator
from fergan.stylegan.metrics import kid
from fergan.stylegan.networks import StyleGAN2Config
from fergan.stylegan.training import ada
from fergan.stylegan.training import loop as loop_module
from fergan.stylegan.training import stylegan2 as stylegan2_module
from fergan.stylegan.training.feature_judge import FeatureJudge
from fergan.stylegan.training.images import load_training_set
from fergan.stylegan.training.loop import LoopSettings, Progress, seeded, train_gan
from fergan.stylegan.training.start import grown, read_start, take_over
from fergan.stylegan.training.stylegan2 import StyleGAN2Settings, StyleGAN2Trainer, default_r1_gamma

CONFIG = StyleGAN2Config(img_resolution=16, img_channels=1, z_dim=8, w_dim=8, channels=(8, 8, 8), num_mapping_layers=2)
CPU = torch.device("cpu")


def trainer(config: StyleGAN2Config = CONFIG, shares: np.ndarray | None = None, **changes: object) -> StyleGAN2Trainer:
    return seeded(0, lambda: StyleGAN2Trainer(config, StyleGAN2Settings(**changes), CPU, shares))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int, size: int = 16) -> np.ndarray:
    """Bright discs of varying place and size: uint8 [n, size, size, 1]."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    center, radius = draw.uniform(0.4, 0.6, (n, 2, 1, 1)) * size, draw.uniform(0.15, 0.3, (n, 1, 1)) * size
    inside = (y - center[:, 0]) ** 2 + (x - center[:, 1]) ** 2 < radius**2
    return np.where(inside, 220, 30).astype(np.uint8)[..., None]


def train(folder: Path, kimg: float, it: StyleGAN2Trainer, on_step: Callable[[Progress], None] | None = None) -> Path:
    loop = LoopSettings(kimg, batch_size=8, snapshot_kimg=0.08, ema_kimg=(0.1, 0.02), ema_rampup=0.5, final_rate=0.2)
    return train_gan(it, blobs(64), folder, loop, on_step=on_step)


def grown_trainer(folder: Path) -> StyleGAN2Trainer:
    """A trainer that takes over networks of 8 pixels, which were trained for a moment."""
    few = StyleGAN2Config(img_resolution=8, img_channels=1, z_dim=8, w_dim=8, channels=(8, 8), num_mapping_layers=2)
    start = read_start(train_gan(trainer(few), blobs(64, 8), folder / "small", LoopSettings(0.016, batch_size=8)))
    it = trainer(grown(start.config, CONFIG))
    assert take_over(start, it.G, it.D)
    return it


def judged_trainer(folder: Path) -> StyleGAN2Trainer:
    """A trainer with a second judge, which sees coarse pixels from the fifth step on."""

    def build() -> StyleGAN2Trainer:
        judge = FeatureJudge(lambda images: F.avg_pool2d(images, 4).flatten(1), 16, weight=0.2, first_step=5)
        return StyleGAN2Trainer(CONFIG, StyleGAN2Settings(part_size=4), CPU, None, judge)

    it: StyleGAN2Trainer = seeded(0, build)
    return it


def test_training_brings_the_faces_nearer_to_real_ones(data_folder: Path, tmp_path: Path) -> None:
    """KID falls from snapshot to snapshot within seconds of training at 32 pixels.

    It is taken over coarse pixels: what a network of expressions sees means nothing before there are faces.
    """
    images = load_training_set(data_folder / "stylegan2_faces" / "faces_128.zip", 32, 3).images
    config = StyleGAN2Config(img_resolution=32, z_dim=64, w_dim=64, channels=(64, 64, 32, 16), num_mapping_layers=2)

    def coarse(pictures: np.ndarray) -> np.ndarray:
        return pictures.reshape(len(pictures), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(pictures), -1) / 255

    distances = []
    for kimg in (0.016, 0.5, 2.0):
        it = trainer(config, learning_rate=0.001, r1_gamma=1.0)
        loop = LoopSettings(total_kimg=kimg, batch_size=16, snapshot_kimg=5, ema_kimg=(5,))
        generator = load_generator(train_gan(it, images, tmp_path, loop), device="cpu")
        distances.append(kid(coarse(images), coarse(generator.generate(range(500)))))
    assert all(later < 0.9 * earlier for earlier, later in pairwise(distances)), distances


def test_r1_is_the_squared_gradient_on_real_images() -> None:
    it = trainer(augment="none", r1_gamma=3.0)
    it.D.double()
    reals = torch.randn(4, 1, 16, 16, generator=rng(), dtype=torch.float64)
    loss = it._gradient_penalties(reals, None, rng())
    jacobian = torch.autograd.functional.jacobian(lambda x: it.D(x).sum(), reals)
    by_hand = jacobian.square().sum(dim=(1, 2, 3)).mean()
    assert loss.item() == pytest.approx(3.0 / 2 * 16 * by_hand.item(), rel=1e-10)
    assert it._scalars["loss/R1"].item() == pytest.approx(by_hand.item(), rel=1e-10)


def test_path_length_is_the_deviation_of_the_jacobians_length() -> None:
    it = trainer(style_mixing=0.0, pl_batch_shrink=1)
    it.state.pl_mean.fill_(0.25)
    torch.manual_seed(5)
    loss = it._path_length_loss(3, rng(1))

    torch.manual_seed(5)  # the same noise in the layers, the same y
    ws = it.G.mapping(*it.sample_inputs(3, rng(1)), update_w_avg=False).detach()
    state = torch.get_rng_state()
    images = it.G.synthesis(ws)
    y = torch.randn_like(images) / 16
    torch.set_rng_state(state)
    (product,) = torch.autograd.functional.vjp(it.G.synthesis, ws, y)[1:]
    lengths = product.square().sum(dim=2).mean(dim=1).sqrt()
    mean = 0.99 * 0.25 + 0.01 * lengths.mean()
    assert it.state.pl_mean.item() == pytest.approx(mean.item(), rel=1e-5)
    assert loss.item() == pytest.approx(2.0 * 4 * (lengths - mean).square().mean().item(), rel=1e-4)


def test_styles_are_mixed_from_a_random_layer_on() -> None:
    it = trainer(style_mixing=1.0)
    inputs = it.sample_inputs(64, rng())
    ws = it._styles(inputs, rng(1))
    own = it.G.mapping(*inputs, update_w_avg=False)
    kept = (ws == own).all(dim=2)  # [64, num_ws]
    assert kept[:, 0].all()
    assert (kept.int().diff(dim=1) <= 0).all()  # own styles first, the other latent's after them
    assert {int(k) for k in kept.sum(dim=1)} == {1, 2, 3, 4, 5}
    none = trainer(style_mixing=0.0)
    assert torch.equal(none._styles(inputs, rng(1)), none.G.mapping(*inputs, update_w_avg=False))


@pytest.mark.parametrize(
    "make",
    [
        # snapshots fall between the path-length updates (4 steps), R1's (16) and ADA's (4), and ADA moves fast
        lambda folder: trainer(augment="diffaugment"),
        lambda folder: trainer(augment="ada", ada_kimg=0.2, ada_target=-0.5),
        lambda folder: trainer(precision="bfloat16", relativistic=True),
        lambda folder: trainer(pl_weight=0.0, style_mixing=0.0),
        grown_trainer,
        judged_trainer,
    ],
)
def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path, make: Callable[[Path], StyleGAN2Trainer]) -> None:
    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.kimg > 0.1:  # after the first snapshot, before the second
            raise Killed

    straight = train(tmp_path / "straight", 0.32, make(tmp_path))
    with pytest.raises(Killed):
        train(tmp_path / "killed", 0.32, make(tmp_path), kill)
    resumed = train(tmp_path / "killed", 0.32, it := make(tmp_path))
    assert straight.read_bytes() == resumed.read_bytes()
    for name in ("generator-ema0.02.safetensors", "discriminator.safetensors"):
        assert straight.with_name(name).read_bytes() == resumed.with_name(name).read_bytes()
    assert straight.read_bytes() != straight.with_name("generator-ema0.02.safetensors").read_bytes()
    last = json.loads((tmp_path / "killed" / "log.jsonl").read_text().splitlines()[-1])
    assert {"loss/D", "loss/G", "loss/R1", "logits/real_sign", "speed/kimg_per_hour"} <= last.keys()
    assert ("loss/path_length" in last) == (it.settings.pl_weight > 0)
    assert ("loss/features" in last) == ("features" in it.modules)
    assert load_generator(resumed, device="cpu").generate([0]).shape == (1, 16, 16, 1)


@pytest.mark.parametrize(
    ("make", "broken"),
    [
        (lambda folder: trainer(), "D"),
        (lambda folder: trainer(pl_weight=0.0, style_mixing=0.0), "G"),
        (grown_trainer, "D"),
        (judged_trainer, "features"),
    ],
)
def test_a_diverged_training_keeps_its_networks(
    tmp_path: Path, make: Callable[[Path], StyleGAN2Trainer], broken: str
) -> None:
    path = train(tmp_path, 0.08, make(tmp_path))
    good = {file: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    it = make(tmp_path)
    step = it.step

    def break_and_step(*given: Any) -> dict[str, torch.Tensor]:
        next(it.modules[broken].parameters()).data.fill_(math.nan)
        return step(*given)

    it.step = break_and_step  # type: ignore[method-assign]
    with pytest.raises(DataError, match="diverged"):
        train(tmp_path, 0.32, it)
    assert path in good and len(good) == 3
    assert {file: file.read_bytes() for file in good} == good


@pytest.mark.parametrize("broken", ["D", "G"])
def test_weights_that_are_no_longer_finite_are_not_kept(tmp_path: Path, broken: str) -> None:
    """They break in the very step before a snapshot, whose losses are still finite."""
    train(tmp_path, 0.08, trainer())
    good = {file: file.read_bytes() for file in tmp_path.iterdir() if file.suffix in (".safetensors", ".pt")}
    it = trainer()
    step = it.step

    def step_and_break(*given: Any) -> dict[str, torch.Tensor]:
        scalars = step(*given)
        if int(it.state.steps) == 20:
            next(it.modules[broken].parameters()).data.fill_(math.nan)
        return scalars

    it.step = step_and_break  # type: ignore[method-assign]
    with pytest.raises(DataError, match="diverged"):
        train(tmp_path, 0.16, it)
    assert len(good) == 4 and {file: file.read_bytes() for file in good} == good


def test_learning_rates_fall_by_a_cosine() -> None:
    it = trainer(learning_rate=0.01, pl_weight=0, r1_gamma=0)
    rates = loop_module.Rates(it, LoopSettings(total_kimg=1.0, batch_size=10, final_rate=0.1))
    found = []
    for step in (0, 50, 100, 120):
        rates.set(step)
        found.append(it.optimizers["D"].param_groups[0]["lr"])
    assert found == pytest.approx([0.01, 0.0055, 0.001, 0.001])


def test_bfloat16_blocks_stay_near_float32_and_penalties_are_float32() -> None:
    exact, rough = trainer(augment="none"), trainer(augment="none", precision="bfloat16")
    reals = torch.from_numpy(blobs(8)).permute(0, 3, 1, 2).float() / 127.5 - 1
    logits = [it._logits(reals, (), rng()).detach() for it in (exact, rough)]
    assert not torch.equal(*logits)
    assert torch.allclose(*logits, atol=0.05 * float(logits[0].abs().max()) + 0.02)
    assert torch.equal(*(it._gradient_penalties(reals, None, rng()) for it in (exact, rough)))
    assert all(parameter.dtype == torch.float32 for parameter in rough.G.parameters())
    inputs = exact.sample_inputs(4, rng())
    assert torch.equal(exact.draw(exact.G, inputs), rough.draw(rough.G, inputs))


def test_a_relativistic_loss_knows_differences_only() -> None:
    """A constant added to all logits changes nothing; R2 is there beside R1."""
    it = trainer(augment="none", relativistic=True, style_mixing=0.0)
    reals = torch.from_numpy(blobs(8)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def losses() -> list[float]:
        torch.manual_seed(0)
        (loss,) = it._discriminator_losses(reals, None, rng(), 8)
        torch.manual_seed(0)
        return [float(loss.detach()), float(it._generator_loss(reals, None, rng()).detach())]

    before = losses()
    with torch.no_grad():
        it.D.b4.out.bias += 3
    assert losses() == pytest.approx(before, rel=1e-4)
    it._gradient_penalties(reals, None, rng())
    assert it._scalars["loss/R1"] > 0 and it._scalars["loss/R2"] > 0


def test_a_batch_in_parts_gives_the_gradient_of_the_whole() -> None:
    reals = torch.from_numpy(blobs(8)).permute(0, 3, 1, 2).double() / 127.5 - 1
    gradients = []
    for part in (8, 4):
        it = trainer(augment="none", part_size=part)
        it.D.double()
        it.D.b4.num_channels = 0  # without minibatch statistics, which compare the images of a part
        it.D.b4.conv.weight = torch.nn.Parameter(it.D.b4.conv.weight[:, :8].detach())
        it.D.zero_grad()
        for images, _ in it._parts(reals, None):
            (it._gradient_penalties(images, None, rng()) * len(images) / len(reals)).backward()
        gradients.append(it.D.b16.conv0.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)


def test_ada_grows_while_d_is_too_sure() -> None:
    for sign, grows in ((1.0, True), (-1.0, False)):
        it = trainer(augment="ada", ada_kimg=1.0)
        it.state.augment_p.fill_(0.1)
        it.state.real_sign.copy_(torch.tensor([sign * 32, 32.0]))
        it._steer_ada(50)
        assert it.state.augment_p.item() == pytest.approx(0.15 if grows else 0.05)


def test_ada_counts_the_images_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    it = trainer(augment="ada", ada_kimg=1.0, ada_target=-2.0)
    monkeypatch.setattr(stylegan2_module, "world_size", lambda: 3)
    for step in range(4):
        it.step(torch.zeros(8, 1, 16, 16), None, rng(step))
    assert it.state.augment_p.item() == pytest.approx(3 * 8 * 4 / 1000)


def test_conditional_training_learns_the_classes(tmp_path: Path) -> None:
    dark_and_bright = np.concatenate([np.full((32, 16, 16, 1), 20), np.full((32, 16, 16, 1), 235)]).astype(np.uint8)
    classes = np.eye(2, dtype=np.float32)[np.repeat([0, 1], 32)]
    config = StyleGAN2Config(**{**CONFIG.__dict__, "c_dim": 2})
    it = trainer(config, np.array([0.5, 0.5]), augment="none", learning_rate=0.01)
    loop = LoopSettings(total_kimg=0.96, batch_size=8, snapshot_kimg=1, ema_kimg=(0.05,))
    generator = load_generator(train_gan(it, dark_and_bright, tmp_path, loop, classes=classes), device="cpu")
    dark, bright = (generator.generate(range(8), class_index=i).mean() for i in (0, 1))
    assert dark + 60 < bright


@pytest.mark.slow
def test_processes_stay_together(tmp_path: Path) -> None:
    """Two processes of torchrun, on the CPU: other latents in each, the same weights in both after every step."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, hashlib, numpy as np, torch, torch.distributed as dist\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_stylegan2 import *\n"
        "from fergan.runtime.distributed import process_group, rank\n"
        "with process_group(CPU):\n"
        "    it = trainer()\n"
        "    loop = LoopSettings(total_kimg=0.08, batch_size=8, snapshot_kimg=0.04)\n"
        "    train_gan(it, blobs(64), sys.argv[1], loop)\n"
        "    flat = torch.cat([p.detach().flatten() for n in 'GD' for p in it.modules[n].parameters()])\n"
        "    both = [torch.empty_like(flat) for _ in range(2)]\n"
        "    dist.all_gather(both, flat)\n"
        "    assert torch.equal(*both)\n"
        "    open(f'{sys.argv[1]}/together-{rank()}', 'w')\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("together-0", "together-1", "generator.safetensors"):
        assert (tmp_path / "out" / name).exists()


def test_ada_resampling_leaves_lattice_moves_exact() -> None:
    images = torch.rand(2, 3, 24, 24, generator=rng()) * 2 - 1
    same = ada._resample(images, torch.eye(3).repeat(2, 1, 1))
    assert (same - images).abs().max() < 2e-5  # sym6 is orthogonal, so up and down again is the identity
    moved = ada._resample(images, ada._translate(torch.full((2,), 3.0), torch.full((2,), -2.0)))
    inside = slice(6, -6)
    assert (moved - images.roll((2, -3), (2, 3)))[:, :, inside, inside].abs().max() < 2e-5
    smooth = torch.nn.functional.avg_pool2d(images, 7, 1, 3)
    flipped = ada._resample(smooth, ada._scale(torch.full((2,), -1.0), None))
    assert (flipped - smooth.flip(3)).abs().max() < 0.05  # sym6 is only nearly symmetric
    assert (flipped - smooth.flip(3).roll(1, 3)).abs().max() > 0.1


def test_ada_is_differentiable_twice() -> None:
    images = torch.rand(2, 1, 6, 6, generator=rng(), dtype=torch.float64, requires_grad=True)
    turn = ada._rotate(torch.tensor([0.3, 1.0], dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: ada._resample(x, turn), images)
    assert torch.autograd.gradgradcheck(lambda x: ada._resample(x, turn), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_ada_changes_each_kind_about_as_often_as_asked(channels: int) -> None:
    images = torch.rand(64, channels, 16, 16, generator=rng()) * 2 - 1
    assert ada.ada_augment(images, 0.0, rng()) is images
    changed = (ada.ada_augment(images, 0.05, rng()) - images).abs().amax(dim=(1, 2, 3)) > 1e-3
    # 10 kinds at 5 % (8 for gray): 1 - 0.95^10 = 40 %, less what a flip by chance leaves alone
    assert 0.15 < changed.float().mean() < 0.6
    torch.testing.assert_close(ada.ada_augment(images, 0.7, rng(3)), ada.ada_augment(images, 0.7, rng(3)))
    color = ada._color(ada._Draw(500, 1.0, rng()), channels)
    gray = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    spread = (color @ gray)[:, :3]
    assert (spread - spread.mean(dim=1, keepdim=True)).abs().max() < 1e-12  # no change of colour makes gray coloured


def test_labels_of_a_dataset_zip(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    write_png(tmp_path / "a.png", blobs(1)[0])
    names = [f"00000/img0000000{i}.png" for i in range(3)]

    def pack(labels: object) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(tmp_path / "a.png", name)
            archive.writestr("dataset.json", json.dumps({"labels": labels}))

    pack([[names[1], 2], [names[0], 0], [names[2], 1]])
    found = load_training_set(path, 16, 1, conditional=True)
    assert found.images.shape == (3, 16, 16, 1)
    assert found.classes is not None
    assert found.classes.argmax(axis=1).tolist() == [0, 2, 1]
    pack([[name, [0.5, i]] for i, name in enumerate(names)])
    vectors = load_training_set(path, 16, 1, conditional=True).classes
    assert vectors is not None
    assert vectors.tolist() == [[0.5, 0], [0.5, 1], [0.5, 2]]
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "a.png", names[0])
        archive.writestr("dataset.json", "[" * 100_000)
    with pytest.raises(DataError, match="dataset.json: holds no list"):
        load_training_set(path, 16, 1, conditional=True)
    for labels, message in (
        (None, "list of"),
        ([[names[0], 0]], "2 images have no label"),
        ([[name, -1] for name in names], "whole numbers"),
        ([[name, [1] * i] for i, name in enumerate(names)], "one length"),
    ):
        pack(labels)
        with pytest.raises(DataError, match=message):
            load_training_set(path, 16, 1, conditional=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    with pytest.raises(DataError, match=r"dataset\.json"):
        load_training_set(path, 16, 1, conditional=True)


def test_r1_default_follows_pixels_and_batch() -> None:
    assert default_r1_gamma(64, 16) == pytest.approx(0.3)
    assert default_r1_gamma(256, 8) == pytest.approx(9.6)  # DiffAugment's low-shot recipe: 10
    assert math.isclose(default_r1_gamma(128, 16) / default_r1_gamma(64, 16), 4)
