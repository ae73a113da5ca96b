"""Random changes to a batch of training faces, all at once on tensors.

One bilinear resampling does rotation, zoom, shift and crop together: working image by image in PIL would take longer
than the training step it feeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...runtime.errors import UsageError

_SHARES = ("flip", "shift", "zoom", "contrast", "brightness", "tone_strength", "salt_and_pepper", "erase")


@dataclass(frozen=True)
class Augmentation:
    """How far a training face may be changed.

    Attributes:
        flip: probability of a mirror image.
        rotation: largest rotation, degrees.
        shift: largest shift along each axis, as a share of the side.
        zoom: largest relative change of size.
        crop: side of a square cut out at a random place and resized back to 48, 44 for example; 0 for none.
        contrast: largest relative change of the distance of gray values from the image's mean.
        brightness: largest gray value added or taken away, as a share of 255.
        tones: changes of tone that each face gets, one after the other, each drawn from seven: contrast, brightness,
            gamma, sharpness or blur, fewer gray levels, stretched contrast, noise (as RandAugment draws its own, Cubuk
            et al. 2019, arXiv:1909.13719; turning and shifting are done above).
        tone_strength: the largest strength of those, 0 to 1.
        salt_and_pepper: share of pixels that become 0 or 255.
        erase: probability that a random rectangle (2 % to 20 % of the area) is filled with the image's mean
            (Zhong et al. 2020, arXiv:1708.04896).
        mixup: alpha of mixup's Beta distribution (Zhang et al. 2018, arXiv:1710.09412); 0 turns it off.
        cutmix: alpha of CutMix's Beta distribution (Yun et al. 2019, arXiv:1905.04899), by which a rectangle of each
            face comes from another one; 0 turns it off. With mixup too, every batch gets one of the two, by chance.

    Raises:
        UsageError: a value that cannot be.
    """

    flip: float = 0.5
    rotation: float = 12.0
    shift: float = 0.08
    zoom: float = 0.12
    crop: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    tones: int = 0
    tone_strength: float = 0.5
    salt_and_pepper: float = 0.0
    erase: float = 0.3
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation {name} {getattr(self, name)} is not from 0 to 1")
        if not (0 <= self.rotation <= 180 and (self.crop == 0 or 8 <= self.crop <= 48)):
            raise UsageError(
                f"augmentation rotation {self.rotation} or crop {self.crop} cannot be; rotation is from 0 to 180, crop "
                "from 8 to 48 (0: none)"
            )
        if min(self.mixup, self.cutmix, self.tones) < 0:
            raise UsageError("augmentation mixup, cutmix and tones cannot be below 0")

    def __call__(
        self, faces: torch.Tensor, targets: list[torch.Tensor], generator: torch.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Augment one batch.

        Args:
            faces: float32 [N, 1, H, W] in 0..255.
            targets: float32 [N, K] each, mixed along with the faces by mixup.
            generator: source of all randomness, so that a batch can be made again; on the device of the faces.

        Returns:
            The changed faces and targets, same shapes; faces stay in 0..255.
        """
        faces = _affine(faces, self, generator)
        if self.contrast > 0 or self.brightness > 0:
            faces = _gray_values(faces, self, generator)
        for _ in range(self.tones):
            faces = _tone(faces, self.tone_strength, generator)
        if self.salt_and_pepper > 0:
            where = _rand(faces.shape, generator)
            faces = faces.masked_fill(where < self.salt_and_pepper / 2, 0.0)
            faces = faces.masked_fill(where > 1 - self.salt_and_pepper / 2, 255.0)
        if self.erase > 0:
            faces = _erase(faces, self.erase, generator)
        if self.mixup > 0 and (self.cutmix == 0 or float(_rand(1, generator)) < 0.5):
            return _mixup(faces, targets, _beta(self.mixup, generator), generator)
        if self.cutmix > 0:
            return _cutmix(faces, targets, _beta(self.cutmix, generator), generator)
        return faces, targets


def _rand(shape: int | torch.Size, generator: torch.Generator) -> torch.Tensor:
    size = (shape,) if isinstance(shape, int) else shape
    return torch.rand(size, generator=generator, device=generator.device)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * _rand(n, generator)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """Beta(a, a) as the share of two gamma variates; torch's Beta takes no generator."""
    first, second = torch._standard_gamma(torch.full((2,), float(alpha), device=generator.device), generator=generator)
    return float(first / (first + second).clamp_min(1e-12))


def _mixup(
    faces: torch.Tensor, targets: list[torch.Tensor], share: float, generator: torch.Generator
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    partner = torch.randperm(len(faces), generator=generator, device=faces.device)
    return torch.lerp(faces[partner], faces, share), [torch.lerp(each[partner], each, share) for each in targets]


def _cutmix(
    faces: torch.Tensor, targets: list[torch.Tensor], share: float, generator: torch.Generator
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """One rectangle for the batch, about ``1 - share`` of the area; where it leaves the face, the targets know it."""
    partner = torch.randperm(len(faces), generator=generator, device=faces.device)
    height, width = faces.shape[-2:]
    part = math.sqrt(1 - share) / 2
    y, x = _rand(2, generator).tolist()
    top, bottom = (round(min(max(y + sign * part, 0), 1) * height) for sign in (-1, 1))
    left, right = (round(min(max(x + sign * part, 0), 1) * width) for sign in (-1, 1))
    mixed = faces.clone()
    mixed[..., top:bottom, left:right] = faces[partner][..., top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, [torch.lerp(each[partner], each, kept) for each in targets]


def _affine(faces: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    n, side = len(faces), faces.shape[-1]
    angle = _uniform(n, -math.radians(how.rotation), math.radians(how.rotation), generator)
    scale = 1 + _uniform(n, -how.zoom, how.zoom, generator)
    mirror = torch.where(_rand(n, generator) < how.flip, -1.0, 1.0)
    # affine_grid's unit is half a side, hence the factor 2
    shift_x = _uniform(n, -2 * how.shift, 2 * how.shift, generator)
    shift_y = _uniform(n, -2 * how.shift, 2 * how.shift, generator)
    if how.crop:
        part = how.crop / side
        scale = scale * part
        shift_x = shift_x + _uniform(n, part - 1, 1 - part, generator)
        shift_y = shift_y + _uniform(n, part - 1, 1 - part, generator)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    matrix = torch.stack(
        [torch.stack([mirror * cos, -sin, shift_x], 1), torch.stack([mirror * sin, cos, shift_y], 1)], dim=1
    )
    grid = F.affine_grid(matrix, list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _gray_values(faces: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    n = len(faces)
    factor = 1 + _uniform(n, -how.contrast, how.contrast, generator)[:, None, None, None]
    offset = 255 * _uniform(n, -how.brightness, how.brightness, generator)[:, None, None, None]
    mean = faces.mean(dim=(1, 2, 3), keepdim=True)
    return ((faces - mean) * factor + mean + offset).clamp(0, 255)


def _tone(faces: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """One of the changes of ``_TONES`` for each face."""
    which = torch.randint(len(_TONES), (len(faces),), generator=generator, device=faces.device)
    amount = strength * _uniform(len(faces), -1.0, 1.0, generator)[:, None, None, None]
    noise = torch.randn(faces.shape, generator=generator, device=faces.device)
    changed = faces.clone()
    for number, change in enumerate(_TONES):
        rows = which == number
        changed[rows] = change(faces[rows], amount[rows], noise[rows])
    return changed.clamp(0, 255)


def _stretched(faces: torch.Tensor) -> torch.Tensor:
    low, high = faces.amin(dim=(1, 2, 3), keepdim=True), faces.amax(dim=(1, 2, 3), keepdim=True)
    return (faces - low) * (255 / (high - low).clamp_min(1.0))


def _coarse(faces: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    step = 2 ** (5 * amount.abs())
    return (faces / step).floor() * step + step / 2


# each with faces [n, 1, H, W] in 0..255, amounts [n, 1, 1, 1] in -1..1 and standard normal noise like the faces
_TONES: tuple[Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], ...] = (
    lambda faces, amount, noise: torch.lerp(faces.mean(dim=(1, 2, 3), keepdim=True), faces, 1 + 0.8 * amount),
    lambda faces, amount, noise: faces + 100 * amount,
    lambda faces, amount, noise: 255 * (faces / 255).clamp_min(1e-3) ** torch.exp(0.8 * amount),
    lambda faces, amount, noise: faces + amount * (faces - F.avg_pool2d(faces, 3, 1, 1, count_include_pad=False)),
    lambda faces, amount, noise: _coarse(faces, amount),
    lambda faces, amount, noise: torch.lerp(faces, _stretched(faces), amount.abs()),
    lambda faces, amount, noise: faces + 30 * amount * noise,
)


def _erase(faces: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = faces.shape
    area = _uniform(n, 0.02, 0.20, generator) * height * width
    aspect = torch.exp(_uniform(n, -1.0, 1.0, generator))
    half_h, half_w = torch.sqrt(area * aspect) / 2, torch.sqrt(area / aspect) / 2
    y, x = _uniform(n, 0, height, generator), _uniform(n, 0, width, generator)
    rows = torch.arange(height, device=faces.device) + 0.5
    columns = torch.arange(width, device=faces.device) + 0.5
    inside = ((rows - y[:, None]).abs() < half_h[:, None])[:, :, None] & (
        (columns - x[:, None]).abs() < half_w[:, None]
    )[:, None, :]
    inside &= (_rand(n, generator) < probability)[:, None, None]
    return torch.where(inside[:, None], faces.mean(dim=(1, 2, 3), keepdim=True), faces)
