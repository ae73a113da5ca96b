"""Growing: larger networks say and draw at first what the smaller ones did."""

import pytest
import torch
from fergan.stylegan.networks import Discriminator, DiscriminatorConfig, StyleGAN2, StyleGAN2Config
from fergan.stylegan.ops import downsample2d, upsample2d
from fergan.stylegan.training.start import Start, grown, take_over

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
