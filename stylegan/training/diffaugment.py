"""DiffAugment (Zhao et al. 2020, arXiv:2006.10738): the same kind of random change to every image D sees, real or fake.

The changes are differentiable, so G learns through them and D cannot memorise a small training set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def diff_augment(images: torch.Tensor, policy: tuple[str, ...], rng: torch.Generator) -> torch.Tensor:
    """Change every image of a batch at random.

    Args:
        images: float32 [N, C, H, W] in about [-1, 1].
        policy: which changes, in order, out of ``color`` (brightness +-0.5, saturation 0..2 for RGB, contrast
            0.5..1.5), ``translation`` (+-1/8 of the side, filled with 0) and ``cutout`` (a square of half the side set
            to 0).
        rng: CPU generator; the source of all randomness.

    Returns:
        float32 [N, C, H, W], differentiable with respect to ``images``.
    """
    for name in policy:
        images = POLICIES[name](images, rng)
    return images


def _per_image(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Uniform [0, 1) numbers, one an image, shaped to broadcast."""
    return torch.rand(len(images), 1, 1, 1, generator=rng).to(images)


def _color(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    images = images + (_per_image(images, rng) - 0.5)
    if images.shape[1] == 3:
        gray = images.mean(dim=1, keepdim=True)
        images = gray + (images - gray) * (2 * _per_image(images, rng))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + _per_image(images, rng))


def _translation(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    n, _, height, width = images.shape
    reach_y, reach_x = round(height / 8), round(width / 8)
    shift_y = torch.randint(0, 2 * reach_y + 1, (n, 1, 1), generator=rng).to(images.device)
    shift_x = torch.randint(0, 2 * reach_x + 1, (n, 1, 1), generator=rng).to(images.device)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)
    rows = shift_y + torch.arange(height, device=images.device)[None, :, None]
    columns = shift_x + torch.arange(width, device=images.device)[None, None, :]
    batch = torch.arange(n, device=images.device)[:, None, None]
    return padded[batch, rows, columns].permute(0, 3, 1, 2)


def _cutout(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    n, _, height, width = images.shape
    center_y = torch.randint(0, height + 1, (n, 1), generator=rng)
    center_x = torch.randint(0, width + 1, (n, 1), generator=rng)
    in_rows = (torch.arange(height) - center_y + 0.5).abs() < height / 4
    in_columns = (torch.arange(width) - center_x + 0.5).abs() < width / 4
    keep = ~(in_rows[:, :, None] & in_columns[:, None, :])
    return images * keep[:, None].to(images)


POLICIES = {"color": _color, "translation": _translation, "cutout": _cutout}
