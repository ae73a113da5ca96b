"""Losses of a training: cross-entropy and focal loss on soft targets, with weights of classes."""

from __future__ import annotations

import numpy as np
import torch

from ...data.labels import canonical_label
from ...runtime.errors import DataError, UsageError
from ..backend import keras


class FocalCrossEntropy(keras.losses.Loss):
    """``-sum_k w_k t_k (1 - p_k)^gamma log p_k``, the mean over the batch.

    With ``gamma`` 0 and no weights this is cross-entropy; Lin et al. 2017 (arXiv:1708.02002, equation 4) otherwise.
    With one-hot or smoothed targets and weights it is ``torch.nn.functional.cross_entropy`` with ``weight`` and
    ``label_smoothing``, but for the divisor: the batch size, not the sum of the weights.

    Args:
        gamma: how much less a face counts that is recognised already.
        weights: float [K], of the classes; None: all 1.
    """

    def __init__(self, gamma: float = 0.0, weights: np.ndarray | None = None) -> None:
        super().__init__(name="cross_entropy")
        self.gamma = gamma
        self.weights = None if weights is None else torch.as_tensor(np.asarray(weights), dtype=torch.float32)

    def call(self, y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
        """Targets [N, K] whose rows sum to 1, and logits [N, K] -> loss [N]."""
        log_p = torch.log_softmax(y_pred, dim=-1)
        terms = -y_true * log_p
        if self.gamma > 0:
            terms = terms * (1 - log_p.exp()).clamp_min(1e-7) ** self.gamma  # the power's slope at 0 can be infinite
        if self.weights is not None:
            terms = terms * self.weights.to(terms.device)
        return terms.sum(dim=-1)


def class_weights(spec: str, labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray | None:
    """The weights that :attr:`TrainingSettings.class_weights` asks for, float64 [K], or None for none.

    Args:
        spec: ``none``, ``balanced``, or ``disgust=5,fear=2``.

    Raises:
        UsageError: the specification cannot be read or names an unknown class.
        DataError: ``balanced`` where a class has no training face.
    """
    if spec in ("none", ""):
        return None
    if spec == "balanced":
        counts = np.bincount(labels, minlength=len(names))
        if not counts.all():
            raise DataError(f"class {names[counts.argmin()]!r} has no training face, so classes cannot be balanced")
        return np.asarray(len(labels) / (len(names) * counts))
    weights = np.ones(len(names))
    for part in spec.split(","):
        name, _, text = part.partition("=")
        try:
            index, weight = names.index(canonical_label(name)), float(text)
            if not 0 <= weight < np.inf:
                raise ValueError
        except ValueError:
            raise UsageError(
                f"class_weights {spec!r}: {part!r} is not CLASS=NUMBER; write none, balanced or for example "
                f"{names[0]}=2 (classes: {', '.join(names)})"
            ) from None
        weights[index] = weight
    return weights
