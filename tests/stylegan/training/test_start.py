"""Starting: what is read, and growing, where larger networks say and draw at first what the smaller ones did."""

from pathlib import Path

import pytest
import torch
from fergan.runtime.errors import DataError, UsageError
from fergan.stylegan.checkpoints import CheckpointError, save_generator
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator
from fergan.stylegan.networks import Discriminator, DiscriminatorConfig, StyleGAN2, StyleGAN2Config
from fergan.stylegan.ops import downsample2d, upsample2d
from fergan.stylegan.training.start import Start, grown, read_start, save_discriminator, take_over

CHANNELS = (24, 20, 16, 12)  # at 4, 8, 16 and 32 pixels


@pytest.mark.parametrize("levels", [1, 2])
def test_grown_networks_begin_as_the_small_ones(levels: int) -> None:
    torch.manual_seed(levels)
    few = CHANNELS[: len(CHANNELS) - levels]
    small = StyleGAN2Config(32 >> levels, z_dim=16, w_dim=16, channels=few, num_mapping_layers=2)
    generator, judge = StyleGAN2(small).eval(), Discriminator(DiscriminatorConfig(32 >> levels, channels=few))
    for name, parameter in judge.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    start = Start(small, generator.state_dict(), judge.state_dict())
    config = grown(small, StyleGAN2Config(32, z_dim=16, w_dim=16, channels=CHANNELS, num_mapping_layers=2))
    large, large_judge = StyleGAN2(config).eval(), Discriminator(DiscriminatorConfig(32, channels=CHANNELS))
    assert take_over(start, large, large_judge)
    with torch.no_grad():
        z, images = torch.randn(4, 16), torch.randn(4, 3, 32, 32)
        drawn, halved = generator(z, noise_mode="const"), images
        kernel = generator.synthesis.b8.resample_filter
        for _ in range(levels):
            drawn, halved = upsample2d(drawn, kernel), downsample2d(halved, kernel)
        said = judge(halved)
        torch.testing.assert_close(large(z, noise_mode="const"), drawn, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(large_judge(images), said, atol=1e-4, rtol=1e-4)
        assert said.std() > 1e-3


def test_a_state_stands_for_the_networks_beside_it_and_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "training-state.pt"
    config = StyleGAN2Config(8, z_dim=8, w_dim=8, channels=(8, 8), conv_clamp=256.0, num_fp16_res=1)
    generator, judge = StyleGAN2(config), Discriminator(DiscriminatorConfig(8, channels=(8, 8)))
    torch.save({"averages": {"10": generator.state_dict()}, "modules": {"D": judge.state_dict()}}, state)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(DataError, match=r"generator\.safetensors is missing, the networks of training-state\.pt"):
        read_start(state)
    save_generator(tmp_path / "generator.safetensors", generator)
    save_discriminator(tmp_path / "discriminator.safetensors", judge)
    start = read_start(state)
    assert start.config == config
    assert start.discriminator is not None and start.discriminator.keys() == judge.state_dict().keys()
    save_generator(tmp_path / "generator.safetensors", DCGANGenerator(DCGANConfig(8, 32, 1, 4)))
    with pytest.raises(UsageError, match=r"generator\.safetensors: is not a StyleGAN2"):
        read_start(state)
    with pytest.raises(CheckpointError, match=r"other\.pt: a torch file"):
        read_start(state.rename(tmp_path / "other.pt"))


@pytest.mark.parametrize(("clamp", "half", "expected"), [(None, 4, 256.0), (64.0, 4, 64.0), (64.0, 0, 64.0)])
def test_the_training_says_what_computes_in_float16(clamp: float | None, half: int, expected: float) -> None:
    start = StyleGAN2Config(8, channels=(8, 8), conv_clamp=clamp, num_fp16_res=2)
    wanted = StyleGAN2Config(16, channels=(8, 8, 8), conv_clamp=256.0 if half else None, num_fp16_res=half)
    config = grown(start, wanted)
    assert (config.num_fp16_res, config.conv_clamp) == (half, expected)
