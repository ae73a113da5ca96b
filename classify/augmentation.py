"""Random changes to a batch of training faces, all at once on tensors.

One bilinear resampling does rotation, zoom and shift together: working image by image in PIL would take longer than the
training step it feeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far a training face may be changed.

    Attributes:
        flip: probability of a mirror image.
        rotation: largest rotation, degrees.
        shift: largest shift along each axis, as a share of the side.
        zoom: largest relative change of size.
        erase: probability that a random rectangle (2 % to 20 % of the area) is filled with the image's mean.
        mixup: alpha of mixup's Beta distribution (Zhang et al. 2018, arXiv:1710.09412); 0 turns it off.
    """

    flip: float = 0.5
    rotation: float = 12.0
    shift: float = 0.08
    zoom: float = 0.12
    erase: float = 0.3
    mixup: float = 0.0

    def __call__(
        self, faces: torch.Tensor, targets: list[torch.Tensor], generator: torch.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Augment one batch.

        Args:
            faces: float32 [N, 1, H, W], any range.
            targets: float32 [N, K] each, mixed along with the faces by mixup.
            generator: source of all randomness, so that a batch can be made again.

        Returns:
            The changed faces and targets, same shapes.
        """
        faces = _affine(faces, self, generator)
        if self.erase > 0:
            faces = _erase(faces, self.erase, generator)
        if self.mixup > 0:
            # Beta(a, a) as the share of two gamma variates; torch's Beta takes no generator.
            concentration = torch.full((2,), self.mixup)
            first, second = torch._standard_gamma(concentration, generator=generator)
            share = float(first / (first + second).clamp_min(1e-12))
            partner = torch.randperm(len(faces), generator=generator)
            faces = share * faces + (1 - share) * faces[partner]
            targets = [share * target + (1 - share) * target[partner] for target in targets]
        return faces, targets


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _affine(faces: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    n = len(faces)
    angle = _uniform(n, -math.radians(how.rotation), math.radians(how.rotation), generator)
    scale = 1 + _uniform(n, -how.zoom, how.zoom, generator)
    mirror = torch.where(torch.rand(n, generator=generator) < how.flip, -1.0, 1.0)
    # affine_grid's unit is half a side, hence the factor 2
    shift_x = _uniform(n, -2 * how.shift, 2 * how.shift, generator)
    shift_y = _uniform(n, -2 * how.shift, 2 * how.shift, generator)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    matrix = torch.stack(
        [torch.stack([mirror * cos, -sin, shift_x], 1), torch.stack([mirror * sin, cos, shift_y], 1)], dim=1
    )
    grid = F.affine_grid(matrix, list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _erase(faces: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = faces.shape
    area = _uniform(n, 0.02, 0.20, generator) * height * width
    aspect = torch.exp(_uniform(n, -1.0, 1.0, generator))
    half_h, half_w = torch.sqrt(area * aspect) / 2, torch.sqrt(area / aspect) / 2
    y, x = _uniform(n, 0, height, generator), _uniform(n, 0, width, generator)
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    inside = ((rows - y[:, None]).abs() < half_h[:, None])[:, :, None] & (
        (columns - x[:, None]).abs() < half_w[:, None]
    )[:, None, :]
    inside &= (torch.rand(n, generator=generator) < probability)[:, None, None]
    return torch.where(inside[:, None], faces.mean(dim=(1, 2, 3), keepdim=True), faces)
