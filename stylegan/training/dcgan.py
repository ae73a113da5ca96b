"""How a DCGAN is trained: non-saturating logistic loss, spectral norm, DiffAugment, two Adams.

The loss is Goodfellow et al. 2014 (arXiv:1406.2661); with spectral norm it is a sound default for small images
(Kurach et al. 2019, arXiv:1807.04720). Adam's momentum is the DCGAN paper's, its learning rate twice the paper's. Where
conditional, D also learns to tell the classes of real images apart, as in AC-GAN (Odena et al. 2017, arXiv:1610.09585),
while G hears of its class through D's logits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator, as_class
from .diffaugment import diff_augment
from .snapshots import Trainer


@dataclass(frozen=True)
class DCGANSettings:
    """Attributes:
    learning_rate: of G's Adam.
    d_rate: learning rate of D's Adam, as a multiple of G's (two time scales; Heusel et al. 2017, arXiv:1706.08500).
    beta1: first moment's momentum of both Adams.
    augment: DiffAugment policy; ``cutout`` helps when there are few images.
    precision: ``float32`` or ``bfloat16``, in which the convolutions compute; weights stay in float32.
    class_weight: of the cross-entropy by which D, where conditional, tells the classes of real images apart.
    head_start: steps in which D learns alone, for a G that can draw already.
    """

    learning_rate: float = 4e-4
    beta1: float = 0.5
    augment: tuple[str, ...] = ("color", "translation")
    precision: str = "float32"
    class_weight: float = 1.0
    d_rate: float = 1.0
    head_start: int = 0


class DCGANTrainer(Trainer):
    """The training of a DCGAN; see :class:`.snapshots.Trainer`."""

    architecture = "dcgan"

    def __init__(
        self,
        config: DCGANConfig,
        settings: DCGANSettings,
        device: torch.device,
        class_shares: np.ndarray | None = None,
    ) -> None:
        super().__init__(config, settings, device, class_shares)
        generator, discriminator = DCGANGenerator(config).to(device), DCGANDiscriminator(config).to(device)
        self.modules: dict[str, nn.Module] = {"G": generator, "D": discriminator}
        betas = (settings.beta1, 0.999)
        self.optimizers = {
            name: torch.optim.Adam(self.modules[name].parameters(), rate, betas)
            for name, rate in (("G", settings.learning_rate), ("D", settings.learning_rate * settings.d_rate))
        }

    def draw(self, generator: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Images float32 [n, C, R, R] of a generator of this kind."""
        return generator(torch.cat(inputs, dim=1))

    def step(self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator) -> dict[str, torch.Tensor]:
        """One update of D, then one of G, on one batch."""
        D = self.modules["D"]
        inputs = self.sample_inputs(len(reals), rng)
        asked = inputs[1] if len(inputs) > 1 else None
        with self._precision():
            fakes = self.draw(self.modules["G"], inputs).float()

        real_heads = self._heads(reals, rng)
        real_logits = as_class(real_heads, classes)
        fake_logits = as_class(self._heads(fakes.detach(), rng), asked)
        d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        scalars = {"loss/D": d_loss.detach()}
        if classes is not None:
            class_loss = F.cross_entropy(real_heads[:, 1:], classes)
            scalars["loss/class"] = class_loss.detach()
            d_loss = d_loss + self.settings.class_weight * class_loss
        self._update("D", d_loss)

        D.requires_grad_(False)
        g_loss = F.softplus(-as_class(self._heads(fakes, rng), asked)).mean()
        if self._steps("D") > self.settings.head_start:
            self._update("G", g_loss)
        D.requires_grad_(True)
        return {
            **scalars,
            "loss/G": g_loss.detach(),
            "logits/real_sign": real_logits.detach().sign().mean(),
            "logits/fake_sign": fake_logits.detach().sign().mean(),
        }

    def _precision(self) -> torch.autocast:
        half = self.settings.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def _heads(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Outputs of D for augmented images, float32 [N, 1 + c_dim]."""
        augmented = diff_augment(images, self.settings.augment, rng)
        with self._precision():
            heads: torch.Tensor = self.modules["D"](augmented)
        return heads.float()

    def _steps(self, name: str) -> int:
        """How many updates a network has had, those before a stop included."""
        first = self.optimizers[name].param_groups[0]["params"][0]
        return int(self.optimizers[name].state[first]["step"])

    def _update(self, name: str, loss: torch.Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()
