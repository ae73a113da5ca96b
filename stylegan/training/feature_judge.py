"""A second judge for the end of a training: a small head on the features of a frozen network (vision-aided training;
Kumari et al. 2022, arXiv:2112.09130)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..networks.layers import FullyConnectedLayer
from ..networks.mapping import normalize_2nd_moment

_HIDDEN = 128


class FeatureJudge(nn.Module):
    """A head of two layers that tells real images from generated ones by a frozen network's features.

    Its losses are the logistic ones of D. The features of generated images, which G's loss needs, serve the head's own
    loss in the same step too.
    """

    def __init__(
        self, features: Callable[[torch.Tensor], torch.Tensor], width: int, *, weight: float, first_step: int
    ) -> None:
        """Set up a new head.

        Args:
            features: float32 [N, C, R, R] in about [-1, 1] -> [N, width], differentiable; not part of the state.
            width: numbers that describe an image.
            weight: of G's loss by this judge, beside that by D.
            first_step: number of the step from which on it judges.
        """
        super().__init__()
        self._features, self.weight, self.first_step = features, weight, first_step
        self.hidden = FullyConnectedLayer(width, _HIDDEN, activation="lrelu")
        self.out = FullyConnectedLayer(_HIDDEN, 1)
        self._fakes: list[torch.Tensor] = []

    def generator_loss(self, fakes: torch.Tensor) -> torch.Tensor:
        """G's loss on augmented images, not yet weighted; their features are kept for :meth:`own_loss`."""
        features = self._features(fakes.float())
        self._fakes.append(features.detach())
        return F.softplus(-self(features)).mean()

    def own_loss(self, reals: torch.Tensor) -> torch.Tensor:
        """The head's loss on augmented real images, and on the generated ones of the same part of the batch."""
        with torch.no_grad():
            features = self._features(reals)
        return F.softplus(-self(features)).mean() + F.softplus(self(self._fakes.pop(0))).mean()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [N, width] -> logits [N, 1], high for real images."""
        logits: torch.Tensor = self.out(self.hidden(normalize_2nd_moment(features)))
        return logits
