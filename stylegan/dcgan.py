"""DCGAN (Radford et al. 2016, arXiv:1511.06434): the small generator that anyone can train from scratch.

The generator is the paper's: transposed convolutions with batch norm and ReLU. Its first kernel is ``resolution / 16``
wide, so that four doublings end at any multiple of 16 (48 px: 3, 6, 12, 24, 48). The discriminator differs in one
point: spectral normalisation (Miyato et al. 2018, arXiv:1802.05957) in place of batch norm keeps training stable.

Where conditional, the class enters G by the gains and biases of its batch norms, and D by projection (Miyato and Koyama
2018, arXiv:1802.05637). It does not stand beside z at G's input: batch norm then gets its variance from the classes
alone, the part of z may die out, and G draws one picture a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True)
class DCGANConfig:
    """Shape of the pair of networks.

    Attributes:
        z_dim: length of a latent.
        img_resolution: side of the square image in pixels, a multiple of 16.
        img_channels: 1 (gray) or 3 (RGB).
        c_dim: classes, of which a latent is followed by a one-hot vector; 0 = unconditional.
        base_channels: channels of the generator's last hidden layer; each layer before has twice as many.
    """

    z_dim: int = 100
    img_resolution: int = 48
    img_channels: int = 1
    base_channels: int = 32
    c_dim: int = 0

    @property
    def w_dim(self) -> int:
        """Length of what the generator takes: the latent and the class."""
        return self.z_dim + self.c_dim

    def __post_init__(self) -> None:
        if self.img_resolution < 32 or self.img_resolution % 16:
            raise ValueError(f"img_resolution {self.img_resolution} is not a multiple of 16 from 32 up")


class ClassNorm(nn.BatchNorm2d):
    """Batch norm over all classes together; then each class has its own gain and bias, the same for all at first."""

    def __init__(self, features: int, c_dim: int) -> None:
        super().__init__(features)
        self.by_class = nn.Linear(c_dim, 2 * features, bias=False)
        nn.init.zeros_(self.by_class.weight)

    def forward(self, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """x [N, features, H, W], classes float32 [N, c_dim] -> [N, features, H, W]."""
        gain, bias = self.by_class(classes)[:, :, None, None].chunk(2, dim=1)
        return super().forward(x) * (1 + gain) + bias


class DCGANGenerator(nn.Module):
    """w float32 [N, w_dim] -> image float32 [N, img_channels, R, R] in [-1, 1].

    w is a latent z ~ N(0, 1) and, where conditional, a one-hot class after it.
    """

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.config = config
        first, c = config.img_resolution // 16, config.base_channels

        def norm(features: int) -> nn.Module:
            return ClassNorm(features, config.c_dim) if config.c_dim else nn.BatchNorm2d(features)

        layers: list[nn.Module] = [  # [N, z, 1, 1]
            nn.ConvTranspose2d(config.z_dim, 8 * c, first, bias=False),  # [N, 8c, R/16, R/16]
            norm(8 * c),
            nn.ReLU(inplace=True),
        ]
        for inputs, outputs in ((8 * c, 4 * c), (4 * c, 2 * c), (2 * c, c)):  # R/8, R/4, R/2
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                norm(outputs),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(c, config.img_channels, 4, stride=2, padding=1), nn.Tanh()]  # [N, C, R, R]
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        z, classes = w.split([self.config.z_dim, self.config.c_dim], dim=1)
        x = z[:, :, None, None]
        for layer in self.layers:
            x = layer(x, classes) if isinstance(layer, ClassNorm) else layer(x)
        return x


class DCGANDiscriminator(nn.Module):
    """image float32 [N, img_channels, R, R] -> float32 [N, 1 + c_dim]: how real, and how much of each class.

    :func:`as_class` makes logits of them. A layer under spectral norm makes most of what it is shown smaller, so that
    logits begin near 0.1, with what the biases say in them. Telling classes apart needs more: where conditional, a gain
    keeps the size from layer to layer, and the biases begin at 0.
    """

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        c = config.base_channels
        layers: list[nn.Module] = []
        for inputs, outputs in ((config.img_channels, c), (c, 2 * c), (2 * c, 4 * c), (4 * c, 8 * c)):
            convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2, inplace=True)]
        last = nn.Conv2d(8 * c, 1 + config.c_dim, config.img_resolution // 16)
        layers.append(spectral_norm(last))  # [N, 1 + c_dim, 1, 1]
        self.layers = nn.Sequential(*layers)
        self._gain = 2.5 if config.c_dim else 1.0
        if config.c_dim:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for layer in self.layers:
            x = self._gain * layer(x) if isinstance(layer, nn.Conv2d) else layer(x)
        return x.flatten(1)


def as_class(heads: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """The logits, float32 [N], that images are real, and of their ``classes`` [N, c_dim] where conditional."""
    if classes is None:
        return heads[:, 0]
    return heads[:, 0] + (heads[:, 1:] * classes).sum(dim=1)
