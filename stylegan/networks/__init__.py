"""StyleGAN2, to read in this order: config, layers, mapping, generator, discriminator.

Papers: Karras et al. 2019, "Analyzing and improving the image quality of StyleGAN" (arXiv:1912.04958) and Karras et
al. 2020, "Training generative adversarial networks with limited data" (arXiv:2006.06676), called [1] and [2] in the
modules.

Parameters and buffers carry the names of the published stylegan2-ada-pytorch files, so that ``load_state_dict`` takes
their tensors as they are. Shapes in the comments: N batch, Z latent, W style, C channels at the block at hand, R its
resolution.
"""

from .config import ARCHITECTURES, DiscriminatorConfig, StyleGAN2Config, channel_table, resolutions
from .discriminator import Discriminator
from .generator import StyleGAN2, SynthesisLayer, SynthesisNetwork
from .mapping import MappingNetwork

__all__ = [
    "ARCHITECTURES",
    "Discriminator",
    "DiscriminatorConfig",
    "MappingNetwork",
    "StyleGAN2",
    "StyleGAN2Config",
    "SynthesisLayer",
    "SynthesisNetwork",
    "channel_table",
    "resolutions",
]
