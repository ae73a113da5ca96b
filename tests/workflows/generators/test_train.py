"""Training generators from files: what is refused, and starting from a generator."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fergan.classify.classifier import load_classifier
from fergan.data.images import write_png
from fergan.runtime.claims import training_in
from fergan.runtime.errors import UsageError
from fergan.stylegan.checkpoints import save_generator
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator
from fergan.stylegan.generator import load_generator
from fergan.stylegan.ops import setup_filter
from fergan.stylegan.ops.upfirdn2d import upsample2d
from fergan.stylegan.training import loop as loop_module
from fergan.stylegan.training.loop import Progress
from fergan.workflows.generators.differentiable import fernet_features
from fergan.workflows.generators.train import train_dcgan, train_stylegan2
from safetensors.torch import load_file

OPTIONS = {
    "resolution": 32,
    "channels": "3",
    "cond": False,
    "width": "tiny",
    "init": None,
    "batch_size": 16,
    "part_size": None,
    "learning_rate": 0.0025,
    "final_learning_rate": None,
    "path_length": 2.0,
    "style_mixing": 0.9,
    "relativistic": False,
    "feature_loss": 0.0,
    "ema_kimg": None,
    "gamma": None,
    "augment": "diffaugment",
    "mirror": True,
    "snapshot_kimg": 2.0,
    "precision": None,
    "seed": 0,
    "device": "cpu",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 40 small pictures in four colours."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        write_png(folder / f"{i}.png", np.full((16, 16, 3), [60 * (i % 4), 128, 255 - 60 * (i % 4)], np.uint8))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 48}, "power of two; 32 or 64"),
        ({"batch_size": 18}, "groups of four"),
        ({"part_size": 12}, "groups of four"),
        ({"init": "dcgan-fer2013-48"}, "is not a StyleGAN2"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' here"),
    ],
)
def test_refusals(images: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_stylegan2(str(images), str(tmp_path / "out"), lambda progress: None, kimg=1.0, **{**OPTIONS, **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_training_at_a_time(images: Path, tmp_path: Path) -> None:
    with training_in(tmp_path / "out"), pytest.raises(UsageError, match="at work on this training"):
        _train(images, tmp_path / "out")


def _train(images: Path, out: Path, **changes: object) -> Path:
    """One step at next to no learning rate, so that a training ends where it starts."""
    options = {**OPTIONS, "resolution": 8, "learning_rate": 1e-9, **changes}
    return train_stylegan2(str(images), str(out), lambda progress: None, kimg=0.016, **options)


def test_a_training_can_start_from_a_generator(images: Path, tmp_path: Path) -> None:
    first = _train(images, tmp_path / "first", seed=3)
    second = _train(images, tmp_path / "second", seed=4, init=str(first))
    other = _train(images, tmp_path / "other", seed=4)
    a, b, c = (load_generator(path, device="cpu").generate(range(4)).astype(int) for path in (first, second, other))
    assert np.abs(a - b).max() <= 1
    assert np.abs(a - c).max() > 20
    discriminators = [load_file(path.with_name("discriminator.safetensors")) for path in (first, second, other)]
    weights = [tensors["b8.conv0.weight"] for tensors in discriminators]
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert not torch.allclose(weights[0], weights[2], atol=0.1)
    larger = _train(images, tmp_path / "larger", resolution=16)
    with pytest.raises(UsageError, match="draws 16 pixels, but this training 8"):
        _train(images, tmp_path / "third", init=str(larger))


@pytest.mark.parametrize("file", ["generator.safetensors", "training-state.pt"])
def test_a_training_grows_from_a_lower_resolution(images: Path, tmp_path: Path, file: str) -> None:
    small = _train(images, tmp_path / "small", seed=3)
    large = _train(images, tmp_path / "large", seed=4, resolution=16, init=str(small.with_name(file)))
    before, after = (load_generator(path, device="cpu") for path in (small, large))
    assert after.metadata["init"] == {"file": file, "discriminator": True}
    z = torch.randn(4, before.z_dim, generator=torch.Generator().manual_seed(0))
    coarse, fine = (generator.synthesis(generator.mapping(z)) for generator in (before, after))
    assert torch.allclose(fine, upsample2d(coarse, setup_filter([1, 3, 3, 1])), atol=1e-4)  # enlarged, nothing else yet
    blocks = [load_file(path.with_name("discriminator.safetensors"))["b8.conv0.weight"] for path in (small, large)]
    assert torch.allclose(*blocks, atol=1e-6)


def test_the_feature_loss_changes_the_last_fifth_alone_and_is_recorded(images: Path, tmp_path: Path) -> None:
    def train(out: str, weight: float) -> Path:
        options = {**OPTIONS, "resolution": 8, "snapshot_kimg": 0.064, "feature_loss": weight}
        return train_stylegan2(str(images), str(tmp_path / out), lambda progress: None, kimg=0.08, **options)

    def tensors(out: str) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(tmp_path / out / "training-state.pt")["modules"]["G"]
        return state

    kept: dict[str, list[dict[str, torch.Tensor]]] = {"off": [], "on": []}
    for out, weight in (("off", 0.0), ("on", 0.2)):
        with pytest.MonkeyPatch.context() as patch:
            save = loop_module.save_state
            patch.setattr(loop_module, "save_state", lambda *given: (save(*given), kept[out].append(tensors(out))))  # noqa: B023
            path = train(out, weight)
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(kept["off"], kept["on"], strict=True)]
    assert same == [True, False]  # after four of five steps, and after the fifth
    metadata = load_generator(path, device="cpu").metadata["feature_loss"]
    assert metadata["weight"] == 0.2 and metadata["network"] == "fernet"
    with pytest.raises(UsageError, match="feature_loss was .*fernet.*, is now null"):
        train("on", 0.0)


def test_fernets_features_are_those_of_the_classifier_and_have_gradients() -> None:
    features, width, about = fernet_features()
    classifier = load_classifier("fernet", device="cpu")
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    images = ((torch.from_numpy(faces)[:, None].float() - 127.5) / 127.5).requires_grad_(True)
    found = features(images)
    assert found.shape == (3, width) and about["sha256"] == classifier.sha256
    np.testing.assert_allclose(found.detach().numpy(), classifier.features(faces), rtol=1e-3, atol=1e-4)
    found.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    gray = images.detach()
    torch.testing.assert_close(features(gray.expand(-1, 3, -1, -1)), features(gray), rtol=1e-3, atol=1e-4)


def test_a_conditional_dcgan_begins_with_the_weights_of_an_unconditional_one(images: Path, tmp_path: Path) -> None:
    (images / "dataset.json").write_text(json.dumps({"labels": [[f"{i}.png", i % 4] for i in range(40)]}))
    torch.manual_seed(0)
    save_generator(tmp_path / "start.safetensors", DCGANGenerator(DCGANConfig(100, 32, 3, 4)))

    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.kimg > 0.05:  # after the first snapshot, before D has learnt alone for its five steps
            raise Killed

    def train(out: str, init: str, epochs: float = 0.8, on_step: Callable[[Progress], None] = lambda _: None) -> Path:
        return train_dcgan(
            str(images),
            str(tmp_path / out),
            on_step,
            epochs=epochs,
            cond=True,
            base_channels=4,
            diffaugment="color",
            init=init,
            **{name: OPTIONS[name] for name in ("channels", "resolution", "precision", "seed", "device")},
            batch_size=16,
            learning_rate=4e-4,
        )

    start = load_generator(tmp_path / "start.safetensors", "cpu")
    generator = load_generator(train("out", str(tmp_path / "start.safetensors")), "cpu")  # two steps: D's alone
    assert generator.c_dim == 4
    weights = generator.network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in start.network.named_parameters())
    assert generator.metadata["init"] == {"file": "start.safetensors", "sha256": start.sha256}
    shutil.copy(tmp_path / "start.safetensors", tmp_path / "same.safetensors")
    with pytest.raises(UsageError, match="init was .*start.safetensors"):
        train("out", str(tmp_path / "same.safetensors"))
    straight = train("straight", str(tmp_path / "start.safetensors"), 2.8)
    with pytest.raises(Killed):
        train("out", str(tmp_path / "start.safetensors"), 2.8, kill)
    resumed = train("out", str(tmp_path / "start.safetensors"), 2.8)
    assert resumed.read_bytes() == straight.read_bytes()
    later = load_generator(resumed, "cpu").network.state_dict()
    assert not any(torch.equal(later[name], value) for name, value in start.network.named_parameters())
    with pytest.raises(UsageError, match="is not a DCGAN of this size, channels and width"):
        train("other", "dcgan-fer2013-48")
