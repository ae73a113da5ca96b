"""Random changes to a batch of training faces, all at once on tensors.

One bilinear resampling does rotation, zoom, shift and crop together: working image by image in PIL would take longer
than the training step it feeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..recipes import Augmentation


def augment(
    faces: torch.Tensor, targets: list[torch.Tensor], how: Augmentation, generator: torch.Generator
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Augment one batch.

    Args:
        faces: float32 [N, 1, H, W] in 0..255.
        targets: float32 [N, K] each, mixed along with the faces by mixup.
        how: how far the faces may be changed.
        generator: source of all randomness, so that a batch can be made again; on the device of the faces.

    Returns:
        The changed faces and targets, same shapes; faces stay in 0..255.
    """
    faces = _affine(faces, how, generator)
    if how.contrast > 0 or how.brightness > 0:
        faces = _gray_values(faces, how, generator)
    for _ in range(how.tones):
        faces = _tone(faces, how.tone_strength, generator)
    if how.salt_and_pepper > 0:
        where = _rand(faces.shape, generator)
        faces = faces.masked_fill(where < how.salt_and_pepper / 2, 0.0)
        faces = faces.masked_fill(where > 1 - how.salt_and_pepper / 2, 255.0)
    if how.erase > 0:
        faces = _erase(faces, how.erase, generator)
    if how.mixup > 0 and (how.cutmix == 0 or float(_rand(1, generator)) < 0.5):
        return _mixup(faces, targets, _beta(how.mixup, generator), generator)
    if how.cutmix > 0:
        return _cutmix(faces, targets, _beta(how.cutmix, generator), generator)
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
