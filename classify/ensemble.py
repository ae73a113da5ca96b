"""Several classifiers as one: a single Keras model that predicts, evaluates, exports and serves like any other.

The members are nested models that share the input ``pixels``, float32 [N, 48, 48, 1] in 0..255; what a member wants in
another size, range or number of channels is made from it by stock Keras layers inside. They must name the same labels;
their orders may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.errors import DataError, UsageError, counted
from .card import PIXELS
from .classifier import Classifier
from .files.network import model_digest
from .files.open import open_keras_model

if TYPE_CHECKING:
    from .backend import keras

_FOLDS = 5
_STRENGTH = 1.0
"""Inverse of the L2 penalty of the stacked layer, scikit-learn's default ``C``."""


def soft_vote(members: Sequence[Classifier], weights: Sequence[float] | None = None) -> keras.Model:
    """The (weighted) mean of the members' probabilities.

    Args:
        members: two or more, each opened from a Keras file.
        weights: one each, not negative; None for equal ones. They are scaled to sum to 1.

    Returns:
        A model from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to probabilities float32 [N, K] in the order of the
        first member's labels. Its features (:meth:`.classifier.Classifier.features`) are those of the last member.

    Raises:
        DataError: a member is not a Keras file, or names other labels.
        UsageError: fewer than two members, or weights that do not fit.
    """
    from .backend import keras

    shares = _shares(members, weights)
    pixels, outputs = _joined(members)
    if len(set(shares)) == 1:
        mean = keras.layers.Average(name="probabilities")(outputs)
    else:
        scaled = [
            keras.layers.Rescaling(share, name=f"weight{number}")(output)
            for number, (share, output) in enumerate(zip(shares, outputs, strict=True), start=1)
        ]
        mean = keras.layers.Add(name="probabilities")(scaled)
    return keras.Model(pixels, mean, name="ensemble")


def mean_weights(members: Sequence[Classifier], shares: Sequence[float] | None = None) -> keras.Model:
    """One network, each of whose weights is the (weighted) mean of the members' (a "model soup").

    That helps where the members began from common weights (Wortsman et al. 2022, arXiv:2203.05482); it is no slower
    than one of them.

    Args:
        members, shares: as of :func:`soft_vote`.

    Returns:
        A model as the first member's.

    Raises:
        DataError, UsageError: as :func:`soft_vote`; and DataError: they are not the same network, or do not order their
            labels or scale their input in the same way.
    """
    weights = _shares(members, shares)
    networks = [_network(member) for member in members]
    kinds = [
        (_shape(network), member.labels, member.input_range, member.card.get("outputs"))
        for network, member in zip(networks, members, strict=True)
    ]
    for member, kind in zip(members, kinds, strict=True):
        if kind != kinds[0]:
            raise DataError(
                f"{member.source}: is not the network of {members[0].source} (its layers, labels or input range "
                "differ); only weights of the same network have a mean"
            )
    mean, *_ = networks
    arrays = zip(*(network.get_weights() for network in networks), strict=True)
    mean.set_weights([np.average(rows, axis=0, weights=weights).astype(rows[0].dtype) for rows in arrays])
    return mean


@dataclass(frozen=True)
class Stack:
    """A layer over the members' probabilities.

    Attributes:
        kernel: float32 [M * K, K]; rows are the members' probabilities one member after the other.
        bias: float32 [K].
        cross_fitted: float32 [N, K], probabilities of the faces it was fitted on, each by a layer fitted without them:
            scores on these are honest.
    """

    kernel: np.ndarray
    bias: np.ndarray
    cross_fitted: np.ndarray


def fit_stack(probabilities: Sequence[np.ndarray], labels: np.ndarray, names: Sequence[str]) -> Stack:
    """Fit a softmax layer with an L2 penalty (multinomial logistic regression) over the members' probabilities.

    Args:
        probabilities: float32 [N, K] of each member, on faces that the members were not fitted on; all in the order of
            ``names``.
        labels: int [N], the true classes.
        names: the K labels.

    Raises:
        DataError: a class has too few faces.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < _FOLDS:
        rare, few = names[int(counts.argmin())], counted(int(counts.min()), "face")
        raise DataError(f"only {few} of {rare}; a stacked layer needs {_FOLDS} of each label")
    inputs = np.concatenate(probabilities, axis=1).astype(np.float64)
    cross_fitted = np.empty((len(labels), len(names)), np.float32)
    for others, fold in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(inputs, labels):
        layer = LogisticRegression(C=_STRENGTH, max_iter=2000).fit(inputs[others], labels[others])
        cross_fitted[fold] = layer.predict_proba(inputs[fold])
    layer = LogisticRegression(C=_STRENGTH, max_iter=2000).fit(inputs, labels)
    kernel, bias = layer.coef_.T, layer.intercept_
    if len(names) == 2:  # scikit-learn then fits one column, the logit of the second class
        kernel, bias = np.hstack([np.zeros_like(kernel), kernel]), np.hstack([0.0, bias])
    return Stack(kernel.astype(np.float32), bias.astype(np.float32), cross_fitted)


def stacked(members: Sequence[Classifier], stack: Stack) -> keras.Model:
    """The members under a softmax layer over their concatenated probabilities.

    Args:
        members: in the order in which ``stack`` was fitted.
        stack: from :func:`fit_stack`.

    Returns:
        As of :func:`soft_vote`, but for the features, which are the members' probabilities.

    Raises:
        DataError, UsageError: as :func:`soft_vote`.
    """
    from .backend import keras

    _shares(members, None)
    pixels, outputs = _joined(members)
    together = keras.layers.Concatenate(name="members")(outputs)
    head = keras.layers.Dense(len(stack.bias), activation="softmax", name="probabilities")
    model = keras.Model(pixels, head(together), name="ensemble")
    head.set_weights([stack.kernel, stack.bias])
    return model


def in_order_of(labels: Sequence[str], member: Classifier, probabilities: np.ndarray) -> np.ndarray:
    """A member's probabilities [N, K] with the columns in the order of ``labels``.

    Raises:
        DataError: the member names other labels.
    """
    return probabilities[:, _columns(labels, member)]


def _columns(labels: Sequence[str], member: Classifier) -> list[int]:
    if set(labels) != set(member.labels):
        raise DataError(
            f"{member.source or member.name}: has the labels {','.join(member.labels)}, the first member "
            f"{','.join(labels)}; members must have the same labels"
        )
    return [member.labels.index(label) for label in labels]


def _shares(members: Sequence[Classifier], weights: Sequence[float] | None) -> list[float]:
    if len(members) < 2:
        raise UsageError("an ensemble has two or more members; name each with --model")
    given = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    if len(given) != len(members) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise UsageError(f"--shares must be {len(members)} numbers, one a member, none negative, not all 0")
    return [float(share) for share in given / given.sum()]


def _joined(members: Sequence[Classifier]) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """The shared input, and each member's probabilities in the order of the first member's labels."""
    from .backend import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    labels = members[0].labels
    outputs = []
    for number, member in enumerate(members, start=1):
        columns = _columns(labels, member)
        network = _network(member)
        network.name = f"member{number}"  # the same model may be in twice
        output = network(_adapted(pixels, member, number))
        if member.card.get("outputs") == "logits":
            output = keras.layers.Softmax(name=f"softmax{number}")(output)
        if columns != list(range(len(labels))):
            reorder = keras.layers.Dense(len(labels), use_bias=False, name=f"reorder{number}")
            output = reorder(output)
            reorder.set_weights([np.eye(len(labels), dtype=np.float32)[:, columns]])
        outputs.append(output)
    return pixels, outputs


def _shape(network: keras.Model) -> list[tuple[str, list[tuple[int, ...]]]]:
    """The kinds of a network's layers and the shapes of their weights."""
    layers = network._flatten_layers(include_self=False)
    return [(type(layer).__name__, [tuple(weight.shape) for weight in layer.weights]) for layer in layers]


def _network(member: Classifier) -> keras.Model:
    if member.source is None or member.engine == "onnxruntime":
        raise DataError(
            f"{member.source or member.name}: members of an ensemble must be Keras files (.keras, .h5), because they "
            "are saved together as one"
        )
    if member.outputs != member.labels:
        raise DataError(f"{member.source}: has outputs that are not labels (valence, arousal); it cannot be a member")
    content = member.source.read_bytes()
    if model_digest(content) != member.sha256:
        raise DataError(f"{member.source}: has changed since it was opened")
    model = open_keras_model(member.source, content)
    if len(model.outputs) != 1:
        raise DataError(f"{member.source}: has {len(model.outputs)} outputs; a member of an ensemble has one")
    return model


def _adapted(x: keras.KerasTensor, member: Classifier, number: int) -> keras.KerasTensor:
    """The answer of a member to 48x48 gray faces in 0..255 (see :meth:`.classifier.Classifier.predict`), as layers."""
    from .backend import keras

    height, width, channels = member.input_shape
    if (height, width) != (48, 48):
        shrinks = min(height, width) < 48
        x = keras.layers.Resizing(height, width, antialias=shrinks, name=f"resize{number}")(x)
    if channels > 1:
        x = keras.layers.Concatenate(name=f"channels{number}")([x] * channels)
    if member.input_range != PIXELS:
        scale, offset = member.scaling
        x = keras.layers.Rescaling(scale, offset=offset, name=f"range{number}")(x)
    return x
