"""How a StyleGAN2 is trained: the recipe of StyleGAN2 [1] with the augmentation of StyleGAN2-ADA [2] or DiffAugment.

Papers: [1] Karras et al. 2019, arXiv:1912.04958; [2] Karras et al. 2020, arXiv:2006.06676. A step is a main and,
at times, a regularisation update of G, then the same of D, each on latents of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...runtime.distributed import average, mean_over_ranks, world_size
from ..networks import Discriminator, DiscriminatorConfig, StyleGAN2, StyleGAN2Config, channel_table
from .ada import ada_augment
from .diffaugment import diff_augment
from .feature_judge import FeatureJudge
from .precision import full_precision, set_compute_dtype
from .snapshots import Trainer


@dataclass(frozen=True)
class StyleGAN2Settings:
    """Attributes:
    learning_rate: of both Adams, before the correction for lazy regularisation.
    r1_gamma: weight of the gradient penalty on real images (Mescheder et al. 2018, arXiv:1801.04406), as gamma / 2.
    r1_interval: steps from one R1 update to the next (lazy regularisation, section 3.1 of [1]).
    pl_weight: weight of the path-length penalty (section 3.2 of [1]); 0 leaves it out.
    pl_interval: steps from one path-length update to the next.
    pl_batch_shrink: it sees the batch size divided by this.
    style_mixing: probability that an image takes its finer styles from a second latent.
    augment: ``diffaugment`` (always on; the better choice for about a thousand images and short trainings, since it
        needs no time to adapt), ``ada`` (strength follows D's overfitting; section 3 of [2]) or ``none``.
    ada_target: mean sign of D's logits on real images that ADA steers towards.
    ada_kimg: thousands of images in which ADA's strength could go from 0 to 1.
    relativistic: D judges real images against generated ones, and is penalised for its gradient on both (R3GAN; Huang
        et al. 2024, arXiv:2501.05441).
    precision: ``float32``, or ``bfloat16`` for the blocks above 4x4, the gradient penalties excepted.
    part_size: images that go through the networks at a time, gradients being added up; None = the whole batch.
    """

    learning_rate: float = 0.0025
    r1_gamma: float = 0.1
    r1_interval: int = 16
    pl_weight: float = 2.0
    pl_interval: int = 4
    pl_batch_shrink: int = 2
    style_mixing: float = 0.9
    augment: str = "diffaugment"
    ada_target: float = 0.6
    ada_kimg: float = 500.0
    relativistic: bool = False
    precision: str = "float32"
    part_size: int | None = None


def default_r1_gamma(resolution: int, batch_size: int) -> float:
    """0.3 at 64 pixels and batches of 16; grows with the pixels, falls with the batch.

    The form is the ``auto`` heuristic of stylegan2-ada-pytorch (0.0002 * resolution^2 / batch size); the value is six
    times as high, as in DiffAugment's recipe for about a thousand images (gamma 10 at 256 pixels and batches of 8).
    """
    return 0.3 * (resolution / 64) ** 2 * (16 / batch_size)


class _State(nn.Module):
    """The memory of a training besides weights and optimisers; a module, so that snapshots hold it."""

    steps: torch.Tensor
    pl_mean: torch.Tensor
    augment_p: torch.Tensor
    real_sign: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros([], dtype=torch.int64))
        self.register_buffer("pl_mean", torch.zeros([]))  # running mean of the path lengths
        self.register_buffer("augment_p", torch.zeros([]))
        self.register_buffer("real_sign", torch.zeros(2))  # sum and number since ADA last looked


class StyleGAN2Trainer(Trainer):
    """The training of a StyleGAN2; see :class:`.snapshots.Trainer`."""

    architecture = "stylegan2"
    ADA_INTERVAL = 4  # steps between changes of ADA's strength

    def __init__(
        self,
        config: StyleGAN2Config,
        settings: StyleGAN2Settings,
        device: torch.device,
        class_shares: np.ndarray | None = None,
        feature_judge: FeatureJudge | None = None,
    ) -> None:
        super().__init__(config, settings, device, class_shares)
        discriminator = DiscriminatorConfig(
            img_resolution=config.img_resolution,
            img_channels=config.img_channels,
            c_dim=config.c_dim,
            channels=config.channels,
            conv_clamp=config.conv_clamp,
            num_fp16_res=config.num_fp16_res,
        )
        self.G, self.D, self.state = StyleGAN2(config).to(device), Discriminator(discriminator).to(device), _State()
        self.state.to(device)
        for name in ("steps", "augment_p"):  # read on the CPU in every step, which would make it wait for the GPU
            setattr(self.state, name, getattr(self.state, name).cpu())
        self.modules: dict[str, nn.Module] = {"G": self.G, "D": self.D, "state": self.state}
        self.optimizers = {
            "G": self._adam(self.G, settings.pl_interval if settings.pl_weight else None),
            "D": self._adam(self.D, settings.r1_interval if settings.r1_gamma else None),
        }
        self.feature_judge = feature_judge
        if feature_judge is not None:
            self.modules["features"] = feature_judge.to(device)
            self.optimizers["features"] = self._adam(feature_judge, None)
        self._compute_dtype = torch.bfloat16 if settings.precision == "bfloat16" else None
        for network in (self.G, self.D):
            set_compute_dtype(network, self._compute_dtype)
        self._scalars: dict[str, torch.Tensor] = {}

    def _adam(self, module: nn.Module, interval: int | None) -> torch.optim.Adam:
        """Adam whose rate and momenta make up for one extra update every ``interval`` steps (appendix B of [1])."""
        share = 1.0 if interval is None else interval / (interval + 1)
        beta1, beta2 = 0.0, 0.99
        return torch.optim.Adam(
            module.parameters(), self.settings.learning_rate * share, (beta1**share, beta2**share), eps=1e-8
        )

    def draw(self, generator: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Images float32 [n, C, R, R] of a generator of this kind, with its fixed noise."""
        with full_precision(generator, self._compute_dtype):
            return generator(*inputs, noise_mode="const")

    def step(self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator) -> dict[str, torch.Tensor]:
        """One update of G, then one of D, each followed by its regularisation when that is due."""
        settings, count = self.settings, int(self.state.steps)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the networks draw their noise from torch's global generator
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=rng)))
            parts = self._parts(reals, classes)
            self._update("G", (self._generator_loss(x, c, rng) * (len(x) / len(reals)) for x, c in parts))
            if settings.pl_weight and count % settings.pl_interval == 0:
                self._update("G", (self._path_length_loss(len(x), rng) * (len(x) / len(reals)) for x, _ in parts))
            losses = (self._discriminator_losses(x, c, rng, len(reals)) for x, c in parts)
            self._update("D", (loss for pair in losses for loss in pair))
            if settings.r1_gamma and count % settings.r1_interval == 0:
                penalties = (self._gradient_penalties(x, c, rng) * (len(x) / len(reals)) for x, c in parts)
                self._update("D", penalties)
            if judge := self._late_judge():
                self._update("features", (self._judge_loss(judge, x, rng) * (len(x) / len(reals)) for x, _ in parts))
        self.state.steps += 1
        if settings.augment == "ada" and (count + 1) % self.ADA_INTERVAL == 0:
            self._steer_ada(len(reals) * world_size() * self.ADA_INTERVAL)
        return self._scalars

    def _parts(
        self, reals: torch.Tensor, classes: torch.Tensor | None
    ) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        size = self.settings.part_size or len(reals)
        images = reals.split(size)
        return list(zip(images, [None] * len(images) if classes is None else classes.split(size), strict=True))

    def _styles(self, inputs: tuple[torch.Tensor, ...], rng: torch.Generator) -> torch.Tensor:
        """[n, num_ws, w_dim]; style mixing: from a place of its own on, an image's styles are another latent's."""
        z, *condition = inputs
        ws = self.G.mapping(z, *condition)
        if not self.settings.style_mixing:
            return ws
        other = self.G.mapping(torch.randn(z.shape, generator=rng).to(z), *condition, update_w_avg=False)
        n, num_ws, _ = ws.shape
        cutoff = torch.randint(1, num_ws, (n,), generator=rng)
        cutoff[torch.rand(n, generator=rng) >= self.settings.style_mixing] = num_ws
        keep = torch.arange(num_ws)[None, :] < cutoff[:, None]  # [n, num_ws]
        return torch.where(keep[:, :, None].to(ws.device), ws, other)

    def _augmented(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        if self.settings.augment == "diffaugment":
            return diff_augment(images, ("color", "translation", "cutout"), rng)
        if self.settings.augment == "ada":
            return ada_augment(images, float(self.state.augment_p), rng)
        return images

    def _logits(self, images: torch.Tensor, condition: tuple[torch.Tensor, ...], rng: torch.Generator) -> torch.Tensor:
        return self.D(self._augmented(images, rng), *condition)

    def _late_judge(self) -> FeatureJudge | None:
        """The judge by features, once its time has come."""
        judge = self.feature_judge
        return judge if judge is not None and int(self.state.steps) >= judge.first_step else None

    def _fakes(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """n images, and their classes where there are classes."""
        inputs = self.sample_inputs(n, rng)
        return self.G.synthesis(self._styles(inputs, rng)), inputs[1:]

    def _judge_loss(self, judge: FeatureJudge, reals: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        loss = judge.own_loss(self._augmented(reals, rng))
        self._scalars["loss/features"] = loss.detach()
        return loss

    def _generator_loss(self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator) -> torch.Tensor:
        """Non-saturating logistic loss (Goodfellow et al. 2014, arXiv:1406.2661), where relativistic of the difference
        to real images (Jolicoeur-Martineau 2018, arXiv:1807.00734)."""
        fakes, condition = self._fakes(len(reals), rng)
        logits = self._logits(fakes, condition, rng)
        if self.settings.relativistic:
            with torch.no_grad():
                real_logits = self._logits(reals, () if classes is None else (classes,), rng)
            logits = logits - real_logits
        loss = F.softplus(-logits).mean()
        self._scalars["loss/G"] = loss.detach()
        if judge := self._late_judge():
            by_features = judge.generator_loss(self._augmented(fakes, rng))
            self._scalars["loss/G_by_features"] = by_features.detach()
            loss = loss + judge.weight * by_features
        return loss

    def _discriminator_losses(
        self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator, batch: int
    ) -> Iterator[torch.Tensor]:
        """The losses on generated and on real images, one after the other, so that one graph is alive at a time.

        A relativistic loss is one, of both.
        """
        share = len(reals) / batch
        with torch.no_grad():
            fakes, condition = self._fakes(len(reals), rng)
        fake_logits = self._logits(fakes, condition, rng)
        if not self.settings.relativistic:
            fake_loss = F.softplus(fake_logits).mean()
            yield fake_loss * share
        real_logits = self._logits(reals, () if classes is None else (classes,), rng)
        if self.settings.relativistic:
            loss = F.softplus(fake_logits - real_logits).mean()
            yield loss * share
        else:
            real_loss = F.softplus(-real_logits).mean()
            yield real_loss * share
            loss = fake_loss + real_loss
        signs = real_logits.detach().sign()
        self.state.real_sign += torch.stack([signs.sum(), torch.ones_like(signs).sum()])
        self._scalars["loss/D"] = loss.detach()
        self._scalars["logits/real_sign"] = signs.mean()
        self._scalars["logits/fake_sign"] = fake_logits.detach().sign().mean()

    def _gradient_penalties(
        self, reals: torch.Tensor, classes: torch.Tensor | None, rng: torch.Generator
    ) -> torch.Tensor:
        """R1, on real images; R2, on generated ones, too where the loss is relativistic."""
        loss = self._gradient_penalty("R1", reals, () if classes is None else (classes,), rng)
        if self.settings.relativistic:
            with torch.no_grad():
                fakes, condition = self._fakes(len(reals), rng)
            loss = loss + self._gradient_penalty("R2", fakes, condition, rng)
        return loss

    def _gradient_penalty(
        self, name: str, images: torch.Tensor, condition: tuple[torch.Tensor, ...], rng: torch.Generator
    ) -> torch.Tensor:
        """gamma / 2 * |dD/dx|^2 on images."""
        images = images.detach().requires_grad_(True)
        with full_precision(self.D, self._compute_dtype):
            logits = self._logits(images, condition, rng)
            (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty = gradient.square().sum(dim=(1, 2, 3)).mean()
        self._scalars[f"loss/{name}"] = penalty.detach()
        return penalty * (self.settings.r1_gamma / 2 * self.settings.r1_interval)

    def _path_length_loss(self, n: int, rng: torch.Generator) -> torch.Tensor:
        """How unevenly images follow their styles: (|J_w^T y| - mean)^2, equation 4 of [1]."""
        settings = self.settings
        ws = self._styles(self.sample_inputs(max(1, n // settings.pl_batch_shrink), rng), rng)
        with full_precision(self.G, self._compute_dtype):
            images = self.G.synthesis(ws)
        noise = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = self.state.pl_mean.lerp(mean_over_ranks(lengths.mean().detach()), 0.01)
        self.state.pl_mean.copy_(mean)
        penalty = (lengths - mean).square().mean()
        self._scalars["loss/path_length"] = penalty.detach()
        return penalty * (settings.pl_weight * settings.pl_interval)

    def _update(self, name: str, losses: Iterator[torch.Tensor]) -> None:
        """Add up the gradients of the losses in one network, and take an optimiser step with them."""
        module, optimizer = self.modules[name], self.optimizers[name]
        other = self.modules["D" if name == "G" else "G"]
        other.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        for loss in losses:
            loss.backward()
        average([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
        if self.config.num_fp16_res:  # one overflow in float16 must not poison the weights
            for parameter in module.parameters():
                if parameter.grad is not None:
                    torch.nan_to_num(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        optimizer.step()
        other.requires_grad_(True)

    def _steer_ada(self, images: int) -> None:
        """Augment more while D is surer of real images than the target says, and less otherwise ([2] section 3.2)."""
        sign = mean_over_ranks(self.state.real_sign[0] / self.state.real_sign[1])
        self.state.real_sign.zero_()
        change = torch.sign(sign.cpu() - self.settings.ada_target) * (images / (self.settings.ada_kimg * 1000))
        self.state.augment_p.copy_((self.state.augment_p + change).clamp(min=0))
        self._scalars["augment/p"] = self.state.augment_p.clone()


def default_config(resolution: int, channels: int, c_dim: int, width: str, half: bool) -> StyleGAN2Config:
    """A configuration by the width of its networks: see ``WIDTHS``."""
    base, most, w_dim, layers = WIDTHS[width]
    return StyleGAN2Config(
        img_resolution=resolution,
        img_channels=channels,
        z_dim=w_dim,
        w_dim=w_dim,
        c_dim=c_dim,
        channels=channel_table(resolution, base, most),
        num_mapping_layers=layers,
        conv_clamp=256.0 if half else None,
        num_fp16_res=4 if half else 0,
    )


WIDTHS: dict[str, tuple[Any, ...]] = {
    "tiny": (1024, 128, 128, 2),
    "small": (2048, 128, 128, 2),
    "wide": (2048, 256, 256, 2),
    "medium": (4096, 256, 256, 2),
    "paper": (16384, 512, 512, 8),
    "full": (32768, 512, 512, 8),
}
"""Networks by width: channels are min(first / resolution, second); then length of z and w, and depth of the mapping."""
