"""Temperature scaling: making a classifier's confidences as high as it is often right (Guo et al. 2017, 1706.04599)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..backend import keras

_LOWEST = 1e-30
"""Probabilities below this are taken as this, so that logarithms are finite."""

TEMPERATURES = (0.05, 20.0)

_LINEAR = (
    "AveragePooling2D",
    "Cropping2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "Permute",
    "Reshape",
)
"""Layers that commute with a division: what enters may be divided in place of what leaves."""


def apply_temperature(
    probabilities: np.ndarray, temperature: float, weights: Sequence[float] | None = None
) -> np.ndarray:
    """Probabilities of the same logits divided by a temperature.

    Args:
        probabilities: float [N, K], rows that sum to 1, or [M, N, K], those of M members. Softmax forgets only a
            constant of the logits, so the logarithms serve as logits.
        temperature: > 0; above 1 confidences sink, below 1 they rise. The order of the classes stays, but for members,
            who are scaled one by one and may then outvote each other otherwise.
        weights: of the members, that sum to 1; None for equal ones.

    Returns:
        float64 [N, K], rows that sum to 1; of members, their mean.
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _LOWEST)) / temperature
    scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return np.asarray(scaled if scaled.ndim == 2 else np.average(scaled, axis=0, weights=weights))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, weights: Sequence[float] | None = None) -> float:
    """The temperature with the least mean negative log-likelihood.

    Args:
        probabilities, weights: as of :func:`apply_temperature`; of faces that the classifier was not fitted on.
        labels: int [N], the true classes.

    Returns:
        The temperature, between 0.05 and 20; one for all members.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)), weights)
        return float(-np.log(np.maximum(scaled[rows, labels], _LOWEST)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def cross_fitted(
    probabilities: np.ndarray, labels: np.ndarray, seed: int = 0, weights: Sequence[float] | None = None
) -> tuple[np.ndarray, list[float]]:
    """Scaled probabilities of two faces or more that their temperature was not fitted on.

    Each class's rows are dealt at random into two halves; each half is scaled by the temperature of the other. Numbers
    of calibration on the result are honest, which they are not on the rows that a temperature was fitted on.

    Returns:
        float64 [N, K], and the temperatures of the first and of the second half.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    dealt = shuffled[np.argsort(labels[shuffled], kind="stable")]
    halves = (dealt[0::2], dealt[1::2])
    temperatures = [fit_temperature(probabilities[..., half, :], labels[half], weights) for half in halves]
    result = np.empty(np.shape(probabilities)[-2:], np.float64)
    for half, temperature in zip(halves, reversed(temperatures), strict=True):
        result[half] = apply_temperature(probabilities[..., half, :], temperature, weights)
    return result, temperatures


class NotScalable(Exception):
    """A network whose logits no kernel makes; the message says what is there."""


@dataclass(frozen=True)
class Heads:
    """The layers in which a network makes its logits.

    Attributes:
        layers: with the kernels that make them: one, or of a soft vote one a member.
        probabilities: the tensors that follow them through softmax, and for a vote reordering: what is averaged.
        weights: of the average, that sum to 1.
    """

    layers: list[Any]
    probabilities: list[Any]
    weights: list[float]


def find_heads(model: keras.Model, logits: bool = False) -> Heads:
    """Find where a network (which may end in logits), or each member of a soft vote, makes its logits.

    Raises:
        NotScalable: no softmax over a dense layer or a convolution is at its end.
    """
    output = model.outputs[0]
    if logits:
        return Heads([_kernel(output)], [output], [1.0])
    operation = output._keras_history.operation
    if type(operation).__name__ not in ("Average", "Add"):
        return Heads([_under_softmax(output)], [output], [1.0])
    members, weights = [], []
    for tensor in operation._inbound_nodes[output._keras_history.node_index].input_tensors:
        before = tensor._keras_history.operation
        scale = 1.0
        if type(before).__name__ == "Rescaling" and before.offset == 0:
            scale, tensor = float(before.scale), before._inbound_nodes[0].input_tensors[0]
        members.append(tensor)
        weights.append(scale)
    total = sum(weights)
    return Heads([_under_softmax(tensor) for tensor in members], members, [weight / total for weight in weights])


def divide_logits(heads: Heads, temperature: float) -> None:
    """Divide the kernels and biases that make the logits, in place."""
    for layer in {id(layer): layer for layer in heads.layers}.values():
        layer.set_weights([weight / np.float32(temperature) for weight in layer.get_weights()])


def _under_softmax(tensor: Any) -> Any:
    """The layer whose kernel makes the logits of the softmax that a tensor comes from."""
    operation, before = _origin(tensor)
    if type(operation).__name__ == "Dense" and not operation.use_bias and operation.name.startswith("reorder"):
        return _under_softmax(before)  # the classes in another order
    softmax = type(operation).__name__ == "Softmax"
    activation = getattr(getattr(operation, "activation", None), "__name__", "")
    if activation == "softmax" and type(operation).__name__ != "Activation":
        return _checked(operation)
    if softmax or activation == "softmax":
        return _kernel(before)
    raise NotScalable(f"it ends in {type(operation).__name__} and not in softmax")


def _kernel(tensor: Any) -> Any:
    """The layer whose kernel a tensor comes from, with nothing but linear layers between."""
    operation, before = _origin(tensor)
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    if activation == "linear" and getattr(operation, "weights", ()):
        return _checked(operation)
    if type(operation).__name__ in _LINEAR or (type(operation).__name__ == "Activation" and activation == "linear"):
        return _kernel(before)
    raise NotScalable(f"{type(operation).__name__} ({operation.name}) makes its logits")


def _origin(tensor: Any) -> tuple[Any, Any]:
    """The layer that a tensor comes from, looked for in nested networks, and the first tensor that enters it."""
    operation = tensor._keras_history.operation
    while hasattr(operation, "outputs") and getattr(operation, "layers", None):  # a nested network
        tensor = operation.outputs[0]
        operation = tensor._keras_history.operation
    entering = operation._inbound_nodes[tensor._keras_history.node_index].input_tensors
    return operation, entering[0] if entering else None


def _checked(layer: Any) -> Any:
    names = {variable.name for variable in layer.weights}
    if "kernel" not in names or not names <= {"kernel", "bias"}:
        raise NotScalable(f"its last layer with weights, {layer.name}, is a {type(layer).__name__}")
    return layer
