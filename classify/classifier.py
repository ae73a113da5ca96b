"""Loading and applying a facial-expression classifier."""

from __future__ import annotations

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

from ..data.faces import SIZE, Preparation
from ..data.labels import canonical_label
from ..runtime.devices import choose_device
from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable, read_regular
from .card import (
    ENDINGS,
    PIXELS,
    GivenRange,
    Range,
    View,
    card_labels,
    card_range,
    card_size,
    card_view,
    find_classifier,
    made_here,
    read_card,
)
from .files.network import Network, model_digest
from .files.open import open_keras_model, open_network
from .known import BESIDES, recognise
from .wanted import Wanted

if TYPE_CHECKING:
    from .backend import keras

BATCH = {"cpu": 16, "cuda": 512}
"""Faces that a network sees at once. On CPUs more are no faster, and a single face waits for a whole batch."""
_SMALL = 96
"""Pixels of the side above which a network sees an eighth of that."""


Faces = np.ndarray | str | os.PathLike[str] | Image.Image | Sequence[Any]


class Classifier:
    """A facial-expression classifier that is ready to use; its methods may be called from several threads.

    Attributes:
        name: the model's file name without its ending.
        labels: the K class names, in the order of the probabilities.
        outputs: names of all numbers that the network gives, of which valence and arousal are not labels.
        view: ``48`` if it is shown 48x48 gray faces, ``own`` if faces of its own size and colours.
        foreign: whether others than fergan made it.
        remarks: what a person should know before using it, a line each.
        sha256: of the model file, and of the arrays of an ONNX file that stand in further files.
        engine: what runs the network: ``torch``, ``onnxruntime``, or ``keras`` where a layer of it has no translation.
        input_shape: (height, width, channels) of what the saved network takes.
        input_range: what the network wants black (0) and white (255) to be: a pair, or a pair for each channel.
        device: ``cpu`` or ``cuda``.
        input_name, output_name: what the network calls its input and its output.
        card: what is recorded beside the model: settings, data, scores, confusion matrix.
        source: the model file, None where there was none.
        validation: contents of ``NAME.validation.npz`` (see :func:`.saving.validation_bytes`), or None.
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
        view: View = "48",
        foreign: bool = False,
        remarks: Sequence[str] = (),
    ) -> None:
        self.name, self.sha256, self.card = name, sha256, card
        self._columns = [number for number, label in enumerate(labels) if label not in BESIDES]
        self.labels = tuple(labels[number] for number in self._columns)
        self.outputs = labels
        self.view, self.foreign, self.remarks = view, foreign, tuple(remarks)
        self.source, self.validation = source, validation
        self.engine, self.input_range = network.engine, input_range
        self.input_name, self.output_name = network.input_name, network.output_name
        height, width, channels = network.input_shape
        self.input_shape: tuple[int, int, int] = (int(height or 0), int(width or 0), int(channels or 0))
        self._network, self.device = network, device
        size = BATCH[device] if max(self.input_shape[:2]) <= _SMALL else BATCH[device] // 8
        self._batch = network.batch or size
        alone = network.engine == "keras" or device != "cpu"  # Keras, and _exact, have settings of the whole process
        self._lock = threading.Lock() if alone else nullcontext()

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        return f"<Classifier {self.name}: {shape} to {', '.join(self.labels)} ({self.engine}, {self.device})>"

    def predict(self, faces: Faces) -> np.ndarray:
        """Expression probabilities of faces.

        Faces of the network's own size and colours reach it as they are, but for its range. 48x48 gray faces are
        resized (bilinear, antialiased where they shrink) and become three equal channels, as it needs them.

        Args:
            faces: uint8 [N, 48, 48], gray, 0..255 (see :func:`fergan.data.faces.prepare_faces`), or what
                :meth:`preparation` makes: [N, height, width] or [N, height, width, 3]; or a picture's path or Pillow
                image, or several, which are so prepared as whole pictures (crop ``none``).

        Returns:
            float32 [N, K], rows sum to 1. A row depends on its face alone: the network always sees batches of one
            size, the last one filled up, because the size changes the last bits of the result.

        Raises:
            UsageError: another dtype or shape.
            DataError: what the network says are not probabilities, and its card does not say what they are.
        """
        outputs = self._apply(self._network.outputs, self._checked(faces), self.prepared)[:, self._columns]
        if self.card.get("outputs") == "logits":
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        if not (np.all(outputs >= 0) and np.allclose(outputs.sum(axis=1), 1, atol=1e-3)):
            where = f"{self.source}: " if self.source else ""
            card = self.source.with_suffix(".json").name if self.source else "the card"
            raise DataError(
                f"{where}its outputs are not probabilities (a row is {np.round(outputs[0], 3).tolist()}); if they are "
                f'logits, which a softmax makes probabilities, write "outputs": "logits" into {card}'
            )
        return outputs

    def preparation(self, crop: str = "none") -> Preparation:
        """How pictures become faces that :meth:`predict` takes, by :attr:`view`."""
        if self.view == "48":
            return Preparation(crop)
        height, width, channels = self.input_shape
        return Preparation(crop, (height, width), "rgb" if channels == 3 else "gray")

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
            faces = _prepared_pictures(faces, self.preparation())
        height, width, channels = self.input_shape
        own = (height, width, 3) if channels == 3 else (height, width)
        if faces.dtype != np.uint8 or faces.shape[1:] not in ((SIZE, SIZE), own):
            shown = " or ".join(f"[N, {', '.join(map(str, shape))}]" for shape in dict.fromkeys(((SIZE, SIZE), own)))
            raise UsageError(f"faces must be uint8 {shown}, not {faces.dtype} {list(faces.shape)}; use prepare_faces")
        return faces if faces.ndim == 4 else faces[..., None]

    def keras_model(self) -> keras.Model:
        """The network as Keras has it, on the CPU, with gradients; of several outputs the expressions alone.

        Raises:
            DataError: it is not a Keras model, or Keras cannot open it.
        """
        where = printable(self.source or self.name)
        if self.source is None or self.engine == "onnxruntime":
            raise DataError(f"{where}: an ONNX network is not a Keras model, and has no gradients here")
        try:
            model = open_keras_model(self.source, self.source.read_bytes())
            if len(model.outputs) == 1:
                return model
            from .backend import keras

            return keras.Model(
                model.inputs, dict(zip(model.output_names, model.outputs, strict=True))[self.output_name]
            )
        except DataError:
            raise
        except Exception as error:  # older files make Keras raise almost any type
            raise DataError(f"{where}: Keras cannot open it ({type(error).__name__})") from error

    def full_card(self) -> dict[str, Any]:
        """The card with what was given in place of it when the model was loaded."""
        return {
            **self.card,
            "labels": list(self.outputs),
            "input_range": np.asarray(self.input_range).tolist(),
            **({"view": self.view} if self.foreign else {}),
        }

    def prepared(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 [N, 48, 48, 1] or [N, *input_shape], 0..255 -> [N, *input_shape], what the network was made for."""
        height, width, channels = self.input_shape
        if tuple(batch.shape[1:3]) != (height, width):
            # [N, 1, 48, 48] and [N, 48, 48, 1] are the same memory
            resized = F.interpolate(batch.reshape(-1, 1, 48, 48), (height, width), mode="bilinear", antialias=True)
            batch = resized.reshape(-1, height, width, 1)
        if self.input_range != PIXELS:
            scale, offset = (torch.tensor(of, dtype=batch.dtype, device=batch.device) for of in self.scaling)
            batch = batch * scale + offset
        return batch if channels == batch.shape[-1] else batch.expand(-1, -1, -1, channels).contiguous()

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


def _prepared_pictures(pictures: Any, preparation: Preparation) -> np.ndarray:
    """Arrays, tensors, paths or Pillow images, one or several, as prepared faces."""
    if isinstance(pictures, str | os.PathLike | Image.Image):
        pictures = [pictures]
    several = isinstance(pictures, list | tuple)
    if several and any(isinstance(picture, str | os.PathLike | Image.Image) for picture in pictures):
        return preparation.prepare(pictures)
    return np.asarray(pictures)  # of a tensor, or of anything else that numpy takes


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
    view: View | None = None,
) -> Classifier:
    """Open a classifier: one that fergan trained, a bundled or a published one, or somebody else's.

    Files are data: nothing in them is executed, and layers that would need that are refused.

    Args:
        source: a ``.keras``, ``.h5``, ``.hdf5`` (Keras 1 to 3) or ``.onnx`` file, or the name of a bundled model; None
            for :data:`.bundled.DEFAULT`, ``best`` for :data:`.bundled.BEST`. ``NAME.json`` beside the file says what
            the file itself cannot: ``labels``, the names of the outputs in order (``valence`` and ``arousal`` are
            outputs that are not labels); ``input_range``, what black and white are to the network (three such pairs
            where the channels differ, or ``"imagenet"`` for :data:`.card.IMAGENET`); ``outputs``, ``"logits"`` where no
            softmax follows the last layer; ``output``, the name of the expressions' output among several;
            ``input_size``, of a network that takes any; ``view``.
            Published networks that fergan recognises (:mod:`.known`) need none of it.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels: in place of those in ``NAME.json``.
        input_range: in place of that in ``NAME.json``.
        view: ``48`` to show it faces as FER2013 has them, ``own`` to show it faces of its own size and colours, cut
            from the full picture; None as :func:`.card.card_view` says.

    Raises:
        DataError: the file is missing, damaged, asks for code, or is not a network from pictures of 1 or 3 channels to
            one output for each label; or nothing says what its labels or its input range are.
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
    network = open_network(path, content, device, _wanted(path, card))
    return _described(network, path, content, {**getattr(network, "card", {}), **card}, device, view)


def _described(
    network: Network, path: Path, content: bytes, card: dict[str, Any], device: str, view: View | None
) -> Classifier:
    """A classifier of an opened network, by what is known of it."""
    sha256, remarks = model_digest(content, getattr(network, "external", b"")), []
    if not made_here(path, card) and (known := recognise(path.stem, sha256, network)):
        remarks.append(f"{printable(path)}: {known.remark}{_overruled(known.card(), card)}")
        card = {**known.card(), **card}
    names = card_labels(path, card, network.input_shape, network.output_shape)
    height, width, channels = (int(n or 0) for n in network.input_shape)
    span = card_range(path, card, channels, whole=network.whole)
    shown = card_view(path, card, (height, width, channels), view)
    if shown == "own" and view is None:
        remarks.append(
            f"{printable(path)}: sees faces in its own {height}x{width} pixels, {'RGB' if channels == 3 else 'gray'}, "
            "not as FER2013 has them; --view 48 shows it those"
        )
    # answers on validation faces correct labels only of faces that were shown in the same way
    validation = path.with_suffix(".validation.npz") if shown == card.get("view", "48") else None
    return Classifier(
        network,
        names,
        name=path.stem,
        sha256=sha256,
        card=card,
        device=device,
        source=path,
        validation=read_regular(validation) if validation and validation.exists() else None,
        input_range=span,
        view=shown,
        foreign=not made_here(path, card),
        remarks=remarks,
    )


def _overruled(known: dict[str, Any], card: dict[str, Any]) -> str:
    """Remark on what a card says otherwise than is known of a published network."""
    names = {"labels": "labels", "input_range": "input range", "outputs": "kind of outputs"}
    given = [names[key] for key in names if key in card and not _same(card[key], known[key])]
    return f"; but its {' and '.join(given)} were given otherwise, which is followed" if given else ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list) and all(isinstance(name, str) for name in one):
        return [canonical_label(name) for name in one] == other
    return bool(np.asarray(one, object).tolist() == other)  # of lists, tuples or arrays, ragged ones too


def _wanted(path: Path, card: dict[str, Any]) -> Wanted:
    output, labels = card.get("output"), card.get("labels")
    if output is not None and not isinstance(output, str):
        raise DataError(f'{printable(path.with_suffix(".json"))}: "output" is {output!r}; write the name of an output')
    return Wanted(card_size(path, card), output, len(labels) if isinstance(labels, list) else None)
