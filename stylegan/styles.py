"""Pictures by way of their styles: what mixing, interpolation and projected styles have in common.

A seed's picture is the same to the byte whether :meth:`Generator.generate` makes it or its styles go through here.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .generator import Generator, to_uint8


def seed_styles(
    generator: Generator,
    seeds: Sequence[int],
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_index: int | None = None,
) -> np.ndarray:
    """The styles of seeds, truncated.

    Args:
        seeds: integers 0 .. 2**32 - 1.
        truncation_psi, truncation_cutoff: as in :meth:`Generator.mapping`.
        class_index: 0 .. c_dim - 1 for a conditional generator.

    Returns:
        float32 [N, num_ws, w_dim].

    Raises:
        UsageError: the class is not what the generator takes.
    """
    generator.check_class(class_index)
    work = generator._work_batch()
    styles = np.empty((len(seeds), generator.num_ws, generator.w_dim), np.float32)
    for start in range(0, len(seeds), work):
        part = list(seeds[start : start + work])
        padded = part + part[-1:] * (work - len(part))
        z = np.concatenate([np.random.RandomState(seed).randn(1, generator.z_dim) for seed in padded])
        c = None if class_index is None else np.eye(generator.c_dim)[[class_index] * work]
        ws = generator.mapping(z, c, truncation_psi, truncation_cutoff)
        styles[start : start + len(part)] = ws[: len(part)].cpu().numpy()
    return styles


def draw_styles(
    generator: Generator, styles: np.ndarray, noise_mode: str = "const", noise_seeds: Sequence[int] | None = None
) -> np.ndarray:
    """The pictures of styles.

    Args:
        styles: [N, num_ws, w_dim] of any float type.
        noise_mode: as in :meth:`Generator.synthesis`.
        noise_seeds: for ``random``, one a picture; None counts them from 0.

    Returns:
        uint8 [N, H, W, C], rounded as by :meth:`Generator.generate`.

    Raises:
        UsageError: the noise mode is not one that there is.
    """
    work = generator._work_batch()
    seeds = list(range(len(styles))) if noise_seeds is None else list(noise_seeds)
    size, channels = generator.img_resolution, generator.img_channels
    pictures = np.empty((len(styles), size, size, channels), np.uint8)
    for start in range(0, len(styles), work):
        rows = list(range(start, min(start + work, len(styles))))
        padded = rows + rows[-1:] * (work - len(rows))
        noise = [torch.Generator().manual_seed(seeds[row]) for row in padded] if noise_mode == "random" else None
        images = generator.synthesis(np.asarray(styles)[padded], noise_mode, noise)
        pictures[rows] = to_uint8(images)[: len(rows)]
    return pictures
