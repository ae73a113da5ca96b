"""The augmentations of StyleGAN2-ADA: pixel blitting, geometry and colour ("bgc"), each done with probability p.

Karras et al. 2020, "Training generative adversarial networks with limited data" (arXiv:2006.06676), appendix B, whose
constants are used. All geometry of an image becomes one matrix and one resampling, all colour another matrix.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..ops import Resampling, setup_filter, upfirdn2d

# Low-pass filter of the orthogonal wavelet sym6 (Daubechies 1992, table 6.3), which resamples without aliasing.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_REACH = len(SYM6) // 4  # pixels that the filter reaches beyond an image, at the image's resolution


def ada_augment(images: torch.Tensor, p: float, rng: torch.Generator) -> torch.Tensor:
    """Change every image of a batch at random; differentiable twice.

    Args:
        images: float32 [N, C, R, R] in about [-1, 1], C 1 or 3.
        p: probability of each change, 0 (returns the images as they are) to about 0.8.
        rng: CPU generator; the source of all randomness.

    Returns:
        float32 [N, C, R, R].
    """
    if p <= 0:
        return images
    draw = _Draw(len(images), min(p, 1.0), rng)
    geometry = _geometry(draw, images.shape[-1])
    color = _color(draw, images.shape[1])
    return _recolor(_resample(images, geometry.to(images)), color.to(images))


class _Draw:
    """Random numbers for a batch, one an image: the value with probability p, else the one that changes nothing."""

    def __init__(self, n: int, p: float, rng: torch.Generator) -> None:
        self.n, self.p, self.rng = n, p, rng

    def uniform(self) -> torch.Tensor:
        return torch.rand(self.n, generator=self.rng, dtype=torch.float64)

    def normal(self) -> torch.Tensor:
        return torch.randn(self.n, generator=self.rng, dtype=torch.float64)

    def maybe(self, values: torch.Tensor, neutral: float, p: float | None = None) -> torch.Tensor:
        return torch.where(self.uniform() < (self.p if p is None else p), values, neutral)


def _geometry(draw: _Draw, resolution: int) -> torch.Tensor:
    """[N, 3, 3]: where each pixel of the result comes from, in pixels from the centre."""
    inverse = torch.eye(3, dtype=torch.float64).repeat(draw.n, 1, 1)
    # pixel blitting
    inverse = inverse @ _scale(draw.maybe(1 - 2 * (draw.uniform() * 2).floor(), 1.0), None)  # x-flip
    inverse = inverse @ _rotate(draw.maybe((draw.uniform() * 4).floor(), 0.0) * (math.pi / 2))
    shift = [draw.uniform() * 0.25 - 0.125 for _ in "xy"]
    done = draw.maybe(torch.ones(draw.n, dtype=torch.float64), 0.0)
    inverse = inverse @ _translate(*((s * resolution).round() * done for s in shift))
    # general geometry; two rotations of p_rot each make one of p
    p_rotate = 1 - math.sqrt(1 - draw.p)
    factor = draw.maybe(torch.exp2(draw.normal() * 0.2), 1.0)
    inverse = inverse @ _scale(1 / factor, 1 / factor)
    inverse = inverse @ _rotate(draw.maybe((draw.uniform() * 2 - 1) * math.pi, 0.0, p_rotate))
    factor = draw.maybe(torch.exp2(draw.normal() * 0.2), 1.0)
    inverse = inverse @ _scale(1 / factor, factor)
    inverse = inverse @ _rotate(draw.maybe((draw.uniform() * 2 - 1) * math.pi, 0.0, p_rotate))
    shift = [draw.normal() * 0.125 * resolution for _ in "xy"]
    done = draw.maybe(torch.ones(draw.n, dtype=torch.float64), 0.0)
    return inverse @ _translate(*(s * done for s in shift))


def _color(draw: _Draw, channels: int) -> torch.Tensor:
    """[N, 4, 4]: from homogeneous RGB to homogeneous RGB."""
    eye = torch.eye(4, dtype=torch.float64)
    luma = torch.ones(3, dtype=torch.float64) / math.sqrt(3)  # unit vector along gray
    along = torch.zeros(4, 4, dtype=torch.float64)
    along[:3, :3] = torch.outer(luma, luma)

    color = eye.repeat(draw.n, 1, 1)
    color[:, :3, 3] = draw.maybe(draw.normal() * 0.2, 0.0)[:, None]  # brightness
    contrast = eye.repeat(draw.n, 1, 1)
    contrast[:, :3, :3] *= draw.maybe(torch.exp2(draw.normal() * 0.5), 1.0)[:, None, None]
    color = contrast @ color
    flip = draw.maybe((draw.uniform() * 2).floor(), 0.0)  # luma flip: mirror on the plane across gray
    color = (eye - 2 * along * flip[:, None, None]) @ color
    if channels == 3:
        turn = eye.repeat(draw.n, 1, 1)  # hue: turn around gray (Rodrigues' formula)
        angle = draw.maybe((draw.uniform() * 2 - 1) * math.pi, 0.0)[:, None, None]
        a, b, c = luma.tolist()
        cross = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
        turn[:, :3, :3] = eye[:3, :3] + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
        color = turn @ color
        saturation = draw.maybe(torch.exp2(draw.normal()), 1.0)[:, None, None]
        color = (along + (eye - along) * _homogeneous(saturation)) @ color
    return color


def _homogeneous(factor: torch.Tensor) -> torch.Tensor:
    """[N, 1, 1] -> [N, 4, 4] that multiplies colours by ``factor`` and leaves the homogeneous coordinate alone."""
    result = factor.repeat(1, 4, 4)
    result[:, 3, 3] = 1
    return result


def _recolor(images: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = images.shape
    if channels == 3:
        moved = torch.baddbmm(color[:, :3, 3:], color[:, :3, :3], images.reshape(n, 3, -1))
        return moved.reshape(images.shape)
    row = color[:, :3].mean(dim=1)  # gray is RGB with equal channels, and its result the channels' mean
    return images * row[:, :3].sum(dim=1)[:, None, None, None] + row[:, 3][:, None, None, None]


def _resample(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Warp by ``inverse`` [N, 3, 3] at twice the resolution, between two sym6 filters; reflect at the borders."""
    n, channels, size, _ = images.shape
    half = (size - 1) / 2
    corners = inverse.new_tensor([[-half, half, half, -half], [-half, -half, half, half], [1, 1, 1, 1]])
    reached = (inverse @ corners)[:, :2].transpose(0, 1).flatten(1)  # [2, N * 4]
    beyond = torch.cat([-reached, reached]).amax(dim=1) - half + 2 * _REACH  # left, top, right, bottom
    left, top, right, bottom = (max(0, min(size - 1, math.ceil(pixels))) for pixels in beyond.tolist())
    images = F.pad(images, (left, right, top, bottom), mode="reflect")

    kernel = setup_filter(SYM6).to(images.device)
    before, after = (len(SYM6) + 1) // 2, (len(SYM6) - 2) // 2
    images = upfirdn2d(images, kernel, Resampling(up=(2, 2), padding=(before, after, before, after), gain=4))
    # Sample i lies at (i + 1/2 + delay) / 2 - (size + 2 * reach) / 2 from the centre, in pixels of the image: the
    # filter is not symmetric, and delays its output by half a sample.
    wide, delay = 2 * (size + 2 * _REACH), 0.5
    place = (torch.arange(wide, device=images.device, dtype=images.dtype) + 0.5 + delay - wide / 2) / 2
    grid = torch.stack([place.expand(wide, wide), place[:, None].expand(wide, wide), images.new_ones(wide, wide)])
    source = (inverse[:, :2] @ grid.flatten(1)).reshape(n, 2, wide, wide)
    # From the image's centre to the padded image's, then to grid_sample's -1..1 between the outer edges.
    x = (source[:, 0] + (left - right - delay) / 2) * (4 / images.shape[3])
    y = (source[:, 1] + (top - bottom - delay) / 2) * (4 / images.shape[2])
    images = _GridSample.apply(images, torch.stack([x, y], dim=3))
    before, after = -2 * _REACH + (len(SYM6) - 1) // 2, -2 * _REACH + (len(SYM6) - 2) // 2
    return upfirdn2d(images, kernel, Resampling(down=(2, 2), padding=(before, after, before, after), flip=True))


class _GridSample(torch.autograd.Function):
    """Bilinear ``grid_sample`` with zeros outside, differentiable any number of times in the images, not in the grid.

    It is linear in the images, so the derivative of its derivative is itself; torch's own stops after the first.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape  # type: ignore[attr-defined]
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return _GridSampleBackward.apply(gradient, grid, ctx.shape), None  # type: ignore[attr-defined]


class _GridSampleBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor, grid: torch.Tensor, shape: torch.Size
    ) -> torch.Tensor:
        ctx.save_for_backward(grid)
        bilinear, zeros, align_corners = 0, 0, False
        images = gradient.new_empty(1).expand(shape)  # only its shape matters
        needed = [True, False]
        arguments = (gradient, images, grid, bilinear, zeros, align_corners, needed)
        return torch.ops.aten.grid_sampler_2d_backward(*arguments)[0]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return _GridSample.apply(gradient, grid), None, None


def _translate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[N, 3, 3] that shifts by ``x``, ``y`` [N]."""
    matrix = torch.eye(3, dtype=x.dtype).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _scale(x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
    """[N, 3, 3] that multiplies by ``x`` and ``y`` [N]; None is 1."""
    matrix = torch.eye(3, dtype=x.dtype).repeat(len(x), 1, 1)
    matrix[:, 0, 0] = x
    if y is not None:
        matrix[:, 1, 1] = y
    return matrix


def _rotate(angle: torch.Tensor) -> torch.Tensor:
    """[N, 3, 3] that turns by ``angle`` [N], radians."""
    matrix = torch.eye(3, dtype=angle.dtype).repeat(len(angle), 1, 1)
    matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos(), -angle.sin()
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin(), angle.cos()
    return matrix
