"""Random changes to a batch of training faces, all at once on tensors.

One bilinear resampling does rotation, zoom, shift and crop together: working image by image in PIL would take longer
than the training step it feeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...runtime.errors import UsageError

_SHARES = ("flip", "shift", "zoom", "contrast", "brightness", "salt_and_pepper", "erase")


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
        salt_and_pepper: share of pixels that become 0 or 255.
        erase: probability that a random rectangle (2 % to 20 % of the area) is filled with the image's mean
            (Zhong et al. 2020, arXiv:1708.04896).
        mixup: alpha of mixup's Beta distribution (Zhang et al. 2018, arXiv:1710.09412); 0 turns it off.

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
    salt_and_pepper: float = 0.0
    erase: float = 0.3
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation {name} {getattr(self, name)} is not from 0 to 1")
        if not (0 <= self.rotation <= 180 and self.mixup >= 0 and (self.crop == 0 or 8 <= self.crop <= 48)):
            raise UsageError(
                f"augmentation rotation {self.rotation}, mixup {self.mixup} or crop {self.crop} cannot be; rotation is "
                "from 0 to 180, mixup at least 0, crop from 8 to 48 (0: none)"
            )

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
        if self.salt_and_pepper > 0:
            where = _rand(faces.shape, generator)
            faces = faces.masked_fill(where < self.salt_and_pepper / 2, 0.0)
            faces = faces.masked_fill(where > 1 - self.salt_and_pepper / 2, 255.0)
        if self.erase > 0:
            faces = _erase(faces, self.erase, generator)
        if self.mixup > 0:
            # Beta(a, a) as the share of two gamma variates; torch's Beta takes no generator.
            concentration = torch.full((2,), self.mixup, device=faces.device)
            first, second = torch._standard_gamma(concentration, generator=generator)
            share = float(first / (first + second).clamp_min(1e-12))
            partner = torch.randperm(len(faces), generator=generator, device=faces.device)
            faces = share * faces + (1 - share) * faces[partner]
            targets = [share * target + (1 - share) * target[partner] for target in targets]
        return faces, targets


def _rand(shape: int | torch.Size, generator: torch.Generator) -> torch.Tensor:
    size = (shape,) if isinstance(shape, int) else shape
    return torch.rand(size, generator=generator, device=generator.device)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * _rand(n, generator)


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
