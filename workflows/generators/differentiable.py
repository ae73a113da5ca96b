"""The view that a classifier has of pictures, as a differentiable function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from ...classify.bundled import YARDSTICK
from ...classify.classifier import Classifier, load_classifier

_LUMA = (0.299, 0.587, 0.114)


def faces_for(classifier: Classifier, pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [N, C, H, W] in the colours and the size that a classifier takes: [N, 1 or 3, h, w]."""
    preparation = classifier.preparation()
    gray = preparation.colour == "gray"
    if gray and pictures.shape[1] == 3:
        pictures = (pictures * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    elif not gray and pictures.shape[1] == 1:
        pictures = pictures.expand(-1, 3, -1, -1)
    return F.interpolate(pictures, preparation.size, mode="bicubic", antialias=True, align_corners=False)


def fernet_features() -> tuple[Callable[[torch.Tensor], torch.Tensor], int, dict[str, Any]]:
    """The bundled classifier without its head, on the CPU: what enters its last convolution, averaged over space.

    Returns:
        a differentiable function, float32 [N, 1 or 3, R, R] in about [-1, 1] -> [N, width]; the width; and what is to
        be recorded of it.
    """
    from ...classify.backend import keras

    classifier = load_classifier(YARDSTICK, device="cpu")
    model = classifier.keras_model()
    head = [layer for layer in model.layers if layer.weights][-1]
    network = keras.Model(model.inputs, head.input)
    network.trainable = False

    def features(images: torch.Tensor) -> torch.Tensor:
        faces = faces_for(classifier, images.cpu() * 127.5 + 127.5).permute(0, 2, 3, 1).contiguous()
        with keras.device("cpu"):
            found: torch.Tensor = network(classifier.prepared(faces), training=False).mean(dim=(1, 2))
        return found.to(images.device)

    return features, int(head.input.shape[-1]), {"network": classifier.name, "sha256": classifier.sha256}
