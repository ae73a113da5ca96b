"""Loading and applying a facial-expression classifier."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..data.faces import prepare_faces
from ..data.images import read_image
from ..runtime.devices import choose_device
from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable
from .card import ENDINGS, PIXELS, GivenRange, Range, card_labels, card_range, find_classifier, read_card
from .files.bounded import read_regular
from .files.network import Network
from .files.open import open_keras_model, open_network

if TYPE_CHECKING:
    from .backend import keras

_BATCH = {"cpu": 16, "cuda": 512}
"""Faces that a network sees at once. On CPUs more are no faster, and a single face waits for a whole batch."""
_SMALL = 96
"""Pixels of the side above which a network sees an eighth of that."""


Faces = np.ndarray | str | os.PathLike[str] | Image.Image | Sequence[Any]


class Classifier:
    """A facial-expression classifier that is ready to use; its methods may be called from several threads.

    Attributes:
        name: the model's file name without its ending.
        labels: the K class names, in the order of the probabilities.
        sha256: of the model file.
        engine: what runs the network: ``torch``, ``onnxruntime``, or ``keras`` where a layer of it has no translation.
        input_shape: (height, width, channels) of what the saved network takes.
        input_range: what the network wants black (0) and white (255) to be: a pair, or a pair for each channel.
        device: ``cpu`` or ``cuda``.
        input_name, output_name: what the network calls its input and its output.
        card: what is recorded beside the model: settings, data, scores, confusion matrix.
        source: the model file, None where there was none.
        validation: contents of ``NAME.validation.npz`` (see :func:`validation_bytes`), or None if there is none.
    """

    def __init__(
        self,
        network: Network,
        labels: tuple[str, ...],
        *,
        name: str,
        sha256: str,
        card: dict[str, Any],
        device: str,
        source: Path | None = None,
        validation: bytes | None = None,
        input_range: Range = PIXELS,
    ) -> None:
        self.name, self.labels, self.sha256, self.card = name, labels, sha256, card
        self.source, self.validation = source, validation
        self.engine, self.input_range = network.engine, input_range
        self.input_name, self.output_name = network.input_name, network.output_name
        height, width, channels = network.input_shape
        self.input_shape: tuple[int, int, int] = (int(height or 0), int(width or 0), int(channels or 0))
        self._network, self.device = network, device
        size = _BATCH[device] if max(self.input_shape[:2]) <= _SMALL else _BATCH[device] // 8
        self._batch = network.batch or size
        alone = network.engine == "keras" or device != "cpu"  # Keras, and _exact, have settings of the whole process
        self._lock = threading.Lock() if alone else nullcontext()

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        return f"<Classifier {self.name}: {shape} to {', '.join(self.labels)} ({self.engine}, {self.device})>"

    def predict(self, faces: Faces) -> np.ndarray:
        """Expression probabilities of faces.

        A network that was made for something else than 48x48 gray faces in 0..255 gets them resized (bilinear,
        antialiased where they shrink), as three equal channels and in its range, as it needs them.

        Args:
            faces: uint8 [N, 48, 48], gray, 0..255 (see :func:`fergan.data.faces.prepare_faces`); or a picture's path or
                Pillow image, or several, which are prepared as whole pictures (crop ``none``).

        Returns:
            float32 [N, K], rows sum to 1. A row depends on its face alone: the network always sees batches of one
            size, the last one filled up, because the size changes the last bits of the result.

        Raises:
            UsageError: another dtype or shape.
            DataError: what the network says are no probabilities, and its card does not say what they are.
        """
        outputs = self._apply(self._network.outputs, self._checked(faces), self.prepared)
        if self.card.get("outputs") == "logits":
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        if not (np.all(outputs >= 0) and np.allclose(outputs.sum(axis=1), 1, atol=1e-3)):
            where = f"{self.source}: " if self.source else ""
            beside = self.source.with_suffix(".json").name if self.source else "the card"
            raise DataError(
                f"{where}its outputs are no probabilities (a row is {np.round(outputs[0], 3).tolist()}); if they are "
                f'logits, which a softmax makes probabilities, write "outputs": "logits" into {beside}'
            )
        return outputs

    def call(self, inputs: np.ndarray) -> np.ndarray:
        """The network exactly as it was saved: its own input, no resizing, no change of range, no softmax.

        Args:
            inputs: float32 [N, *input_shape].

        Returns:
            float32 [N, K]. A row depends on its input alone, as in :meth:`predict`.

        Raises:
            UsageError: another shape.
        """
        inputs = np.asarray(inputs, np.float32)
        if inputs.shape[1:] != self.input_shape:
            wanted = str(["N", *self.input_shape]).replace("'", "")
            raise UsageError(f"the inputs of {self.name} must be float32 {wanted}, not {list(inputs.shape)}")
        return self._apply(self._network.outputs, inputs, lambda batch: batch)

    def features(self, faces: Faces) -> np.ndarray:
        """Features of prepared faces, which the network's head sees: the input of its last layer with a kernel.

        That is one number a channel; a head that is itself a convolution over space sees the mean over space. Distances
        between distributions of faces, such as KID and the Fréchet distance, are taken over these.

        Args:
            faces: as for :meth:`predict`.

        Returns:
            float32 [N, D]. A row depends on its face alone, as in :meth:`predict`.

        Raises:
            UsageError: another dtype or shape.
        """
        return self._apply(self._pooled, self._checked(faces), self.prepared)

    def _pooled(self, batch: torch.Tensor) -> torch.Tensor:
        entering = self._network.head_inputs(batch)
        return entering.mean(dim=(1, 2)) if entering.ndim == 4 else entering.flatten(1)

    def _checked(self, faces: Faces) -> np.ndarray:
        if not isinstance(faces, np.ndarray):
            faces = _prepared_pictures(faces)
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (48, 48):
            raise UsageError(
                f"faces must be uint8 [N, 48, 48], not {faces.dtype} {list(faces.shape)}; use prepare_faces"
            )
        return faces[..., None]

    def keras_model(self) -> keras.Model:
        """The network as Keras has it, on the CPU, with gradients.

        Raises:
            DataError: it is no Keras model, or Keras cannot open it.
        """
        where = printable(self.source or self.name)
        if self.source is None or self.engine == "onnxruntime":
            raise DataError(f"{where}: an ONNX network is not a Keras model, and has no gradients here")
        try:
            return open_keras_model(self.source, self.source.read_bytes())
        except DataError:
            raise
        except Exception as error:  # older files make Keras raise almost any type
            raise DataError(f"{where}: Keras cannot open it ({type(error).__name__})") from error

    def full_card(self) -> dict[str, Any]:
        """The card with what was given in place of it when the model was loaded."""
        card = {**self.card, "labels": list(self.labels)}
        if self.input_range != PIXELS:
            card["input_range"] = np.asarray(self.input_range).tolist()
        return card

    def prepared(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 [N, 48, 48, 1], 0..255 -> [N, *input_shape], what the network was made for."""
        height, width, channels = self.input_shape
        if (height, width) != (48, 48):
            # [N, 1, 48, 48] and [N, 48, 48, 1] are the same memory
            resized = F.interpolate(batch.reshape(-1, 1, 48, 48), (height, width), mode="bilinear", antialias=True)
            batch = resized.reshape(-1, height, width, 1)
        if self.input_range != PIXELS:
            scale, offset = (torch.tensor(of, dtype=batch.dtype, device=batch.device) for of in self.scaling)
            batch = batch * scale + offset
        return batch if channels == 1 else batch.expand(-1, -1, -1, channels).contiguous()

    @property
    def scaling(self) -> tuple[float | list[float], float | list[float]]:
        """(scale, offset), numbers or one for each channel: the network's range is pixels * scale + offset."""
        low, high = np.array(self.input_range, np.float64).T
        return ((high - low) / 255).tolist(), low.tolist()

    def _apply(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        inputs: np.ndarray,
        prepare: Callable[[torch.Tensor], torch.Tensor],
    ) -> np.ndarray:
        size = self._batch
        rows = []
        for start in range(0, len(inputs) or 1, size):  # no faces: one batch of nothing tells the width
            part = inputs[start : start + size]
            batch = np.zeros((size, *inputs.shape[1:]), inputs.dtype)
            batch[: len(part)] = part
            with self._lock, torch.inference_mode(), _exact(self.device):
                outputs = network(prepare(torch.from_numpy(batch).to(self.device).float()))
                rows.append(outputs[: len(part)].cpu().numpy())
        return np.concatenate(rows)


def _prepared_pictures(pictures: Any) -> np.ndarray:
    """Arrays, tensors, paths or Pillow images, one or several, as uint8 [N, 48, 48]."""
    if isinstance(pictures, str | os.PathLike | Image.Image):
        pictures = [pictures]
    if not isinstance(pictures, list | tuple):  # a tensor, or anything else that numpy takes
        return np.asarray(pictures)
    if not any(isinstance(picture, str | os.PathLike | Image.Image) for picture in pictures):
        return np.asarray(pictures)
    return prepare_faces([_pixels(picture) for picture in pictures])


def _pixels(picture: Any) -> Any:
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return read_image(picture) if isinstance(picture, str | os.PathLike) else picture


def _exact(device: str) -> AbstractContextManager[None]:
    """On GPUs: float32 as it is (not the 10 bits of TensorFloat-32), and one algorithm for each convolution."""
    if device == "cpu":
        return nullcontext()
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return context


def load_classifier(
    source: str | Path | None = None,
    device: str = "auto",
    *,
    labels: Sequence[str] | None = None,
    input_range: GivenRange | None = None,
) -> Classifier:
    """Open a classifier: one that fergan trained, a bundled one, or somebody else's.

    Files are data: nothing in them is executed, and layers that would need that are refused.

    Args:
        source: a ``.keras``, ``.h5``, ``.hdf5`` (Keras 1 to 3) or ``.onnx`` file, or the name of a bundled model; None
            for fernet. ``NAME.json`` beside the file says what the file itself cannot: ``labels``, the names of
            the outputs in order; ``input_range``, what black and white are to the network, ``[0, 255]`` by default
            (three such pairs where the channels differ, or ``"imagenet"`` for :data:`IMAGENET`); ``outputs``,
            ``"logits"`` where no softmax follows the last layer.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels: in place of those in ``NAME.json``.
        input_range: in place of that in ``NAME.json``.

    Raises:
        DataError: the file is missing, damaged, asks for code, or is no network from pictures of 1 or 3 channels to one
            output for each label; or nothing says what its labels are.
        UsageError: an unknown device or name.
    """
    device = choose_device(device, numbered=False).type
    path = find_classifier(source)
    try:
        content = read_regular(path)
    except OSError as error:
        endings = ", ".join(ENDINGS)
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a {endings} file") from error
    card = read_card(path, labels, input_range)
    network = open_network(path, content, device)
    card = {**getattr(network, "card", {}), **card}
    names = card_labels(path, card, network.input_shape, network.output_shape)
    beside = path.with_suffix(".validation.npz")
    return Classifier(
        network,
        names,
        name=path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        card=card,
        device=device,
        source=path,
        validation=read_regular(beside) if beside.exists() else None,
        input_range=card_range(path, card, int(network.input_shape[-1] or 0)),
    )
