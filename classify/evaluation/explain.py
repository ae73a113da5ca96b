"""Views of what a classifier looks at: Grad-CAM heat maps, and the filters of its first layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..backend import keras
from ..classifier import Classifier

_BATCH = 32
_FINE = 6


class Unexplainable(Exception):
    """A network without maps or filters to show; the message says why."""


@dataclass(frozen=True)
class FirstLayer:
    """The first convolution of a network.

    Attributes:
        name: of the layer.
        kernels: float32 [O, h, w], means over its input channels.
        responses: float32 [O, H, W], what it makes of one face, its own activation included.
    """

    name: str
    kernels: np.ndarray
    responses: np.ndarray


def network_inputs(classifier: Classifier, faces: np.ndarray) -> np.ndarray:
    """Faces as :meth:`Classifier.predict` takes them, as its network does: float32 [N, H, W, C] in its range."""
    pixels = torch.from_numpy(faces if faces.ndim == 4 else faces[..., None])
    return classifier.prepared(pixels.float().to(classifier.device)).cpu().numpy()


def grad_cam(model: keras.Model, inputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): which parts of a face speak for a class.

    The maps are the network's last ones of at least 6 by 6 places (networks for 48 pixels end in 3 by 3, which tells
    little); an ensemble of nested networks shows the mean of its members' maps. The score of a class is its logit where
    a softmax ends the network, else the logarithm of its probability.

    Args:
        model: from inputs to K scores.
        inputs: float32 [N, H, W, C], as the network takes them.
        classes: int [N], the class to explain for each face.

    Returns:
        float32 [N, H, W] in 0..1, each map by its own maximum; all 0 where nothing speaks for the class.

    Raises:
        Unexplainable: no layer makes a map of more than one place.
    """
    calls = _calls(model, inputs[:1])
    layers, last = _last_maps(model, calls), calls[-1].layer
    maps = []
    for start in range(0, len(inputs), _BATCH):
        part = slice(start, start + _BATCH)
        maps.append(_maps(model, layers, last, inputs[part], np.asarray(classes[part])))
    return np.concatenate(maps) if maps else np.empty((0, *inputs.shape[1:3]), np.float32)


def first_layer(model: keras.Model, face: np.ndarray) -> FirstLayer:
    """The filters of the first convolution and what they answer to a face, float32 [H, W, C].

    Raises:
        Unexplainable: the network has no plain convolution.
    """
    convolutions = [call for call in _calls(model, face[None]) if isinstance(call.layer, keras.layers.Conv2D)]
    if not convolutions:
        raise Unexplainable("it has no convolution over two dimensions")
    layer = convolutions[0].layer
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float32)  # [h, w, in, out]
    response = convolutions[0].outputs.detach().cpu().numpy()[0]
    return FirstLayer(layer.name, kernel.mean(axis=2).transpose(2, 0, 1), response.transpose(2, 0, 1))


@dataclass(frozen=True)
class _Call:
    layer: Any
    inputs: Any
    outputs: Any


@contextmanager
def _watched(layer: Any, watch: Callable[[Any, Any, Any], Any]) -> Iterator[None]:
    """Within, ``watch(layer, inputs, outputs)`` is told of each call of a layer, and gives its result."""
    plain = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        return watch(layer, arguments[0] if arguments else None, plain(*arguments, **options))

    layer.call = call
    try:
        yield
    finally:
        del layer.call


def _leaves(model: keras.Model) -> list[Any]:
    every = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in every if not isinstance(layer, keras.Model)]


def _calls(model: keras.Model, inputs: np.ndarray) -> list[_Call]:
    """Every call of a layer that is not a network itself, in the order in which the network makes them."""
    calls: list[_Call] = []

    def note(layer: Any, entering: Any, leaving: Any) -> Any:
        calls.append(_Call(layer, entering, leaving))
        return leaving

    with ExitStack() as stack, torch.no_grad():
        for layer in _leaves(model):
            stack.enter_context(_watched(layer, note))
        model(torch.from_numpy(inputs).float(), training=False)
    return calls


def _last_maps(model: keras.Model, calls: list[_Call]) -> list[Any]:
    """The layer of each member whose output is the last map that is fine enough."""
    members = [
        layer for layer in model.layers if isinstance(layer, keras.Model) and layer.output_shape == model.output_shape
    ]
    layers = []
    for member in members if len(members) > 1 else [model]:
        own = {id(layer) for layer in _leaves(member)}
        maps = [call for call in calls if id(call.layer) in own and _side(call.outputs) > 1]
        fine = [call for call in maps if _side(call.outputs) >= _FINE]
        if maps:
            layers.append((fine or maps)[-1].layer)
    if not layers:
        raise Unexplainable("no layer of it makes a map with more than one place")
    return layers


def _side(value: Any) -> int:
    """The shorter side of a map [N, H, W, C]; 0 for anything else."""
    return min(value.shape[1:3]) if isinstance(value, torch.Tensor) and value.ndim == 4 else 0


def _maps(model: keras.Model, layers: list[Any], last: Any, inputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    seen: list[torch.Tensor] = []

    def keep(layer: Any, entering: Any, leaving: Any) -> Any:
        seen.append(leaving)
        return leaving

    with ExitStack() as stack, torch.enable_grad():
        for layer in layers:
            stack.enter_context(_watched(layer, keep))
        logits = stack.enter_context(_without_softmax(last))
        batch = torch.from_numpy(inputs).float().requires_grad_()  # so that gradients exist where weights are frozen
        outputs = model(batch, training=False)
        scores = outputs if logits else outputs.clamp_min(1e-30).log()
        chosen = scores[torch.arange(len(classes)), torch.from_numpy(classes.astype(np.int64))].sum()
        gradients = torch.autograd.grad(chosen, seen)
    height, width = inputs.shape[1:3]
    total = torch.zeros(len(inputs), height, width)
    for values, gradient in zip(seen, gradients, strict=True):
        weights = gradient.mean(dim=(1, 2), keepdim=True)
        heat = torch.relu((weights * values.detach()).sum(dim=3)).cpu()
        total += _to_one(F.interpolate(heat[:, None], size=(height, width), mode="bilinear")[:, 0])
    return _to_one(total).numpy()


@contextmanager
def _without_softmax(layer: Any) -> Iterator[bool]:
    """Within, a layer that ends in softmax leaves it out; yields whether that is so."""
    if isinstance(layer, keras.layers.Softmax):
        layer.call = lambda inputs, *_, **__: inputs
        try:
            yield True
        finally:
            del layer.call
    elif getattr(layer, "activation", None) is keras.activations.softmax:
        layer.activation = keras.activations.linear
        try:
            yield True
        finally:
            layer.activation = keras.activations.softmax
    else:
        yield False


def _to_one(heat: torch.Tensor) -> torch.Tensor:
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
