"""Loading, saving and applying a facial-expression classifier."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from ..data.labels import FER2013, FERPLUS, canonical_label
from ..runtime.devices import choose_device
from ..runtime.errors import DataError, UsageError
from ..runtime.files import write_atomically
from .files.open import Network, open_network

if TYPE_CHECKING:
    from .backend import keras

WEIGHTS = Path(__file__).parent / "weights"
BUNDLED = "fernet"
ENDINGS = (".keras", ".h5", ".hdf5", ".onnx")
_BATCH = {"cpu": 16, "cuda": 512}
"""Faces that a network sees at once. On CPUs more are no faster, and a single face waits for a whole batch."""
_SMALL = 96
"""Pixels of the side above which a network sees an eighth of that."""
Range = tuple[float, float] | tuple[tuple[float, float], ...]
"""Black and white of a network's input, once or for each channel."""
GivenRange = Range | Literal["imagenet"]
_RANGE = (0.0, 255.0)
IMAGENET = tuple(
    (-mean / deviation, (1 - mean) / deviation) for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
)
"""Black and white of each channel for networks of torchvision and timm: red, green, blue of 0..1, less ImageNet's mean,
by its deviation."""
_AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
_ORDERS = (
    ("of fer2013.csv", FER2013),
    ("of folders, which is alphabetical,", tuple(sorted(FER2013))),
    ("of AffectNet", _AFFECTNET[:7]),
    ("of RAF-DB", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")),
    ("of FER+", FERPLUS),
    ("of AffectNet", _AFFECTNET),
    ("of folders, which is alphabetical,", tuple(sorted(FERPLUS))),
)
"""Orders in which published models number the expressions, to choose from; never one to assume."""


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
        input_range: Range = _RANGE,
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

    def predict(self, faces: np.ndarray) -> np.ndarray:
        """Expression probabilities of prepared faces.

        A network that was made for something else than 48x48 gray faces in 0..255 gets them resized (bilinear,
        antialiased where they shrink), as three equal channels and in its range, as it needs them.

        Args:
            faces: uint8 [N, 48, 48], gray, 0..255 (see :func:`fergan.data.faces.prepare_faces`).

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

    def features(self, faces: np.ndarray) -> np.ndarray:
        """What the network's head sees of prepared faces: the input of its last layer with a kernel.

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

    def _checked(self, faces: np.ndarray) -> np.ndarray:
        faces = np.asarray(faces)
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (48, 48):
            raise UsageError(
                f"faces must be uint8 [N, 48, 48], not {faces.dtype} {list(faces.shape)}; use prepare_faces"
            )
        return faces[..., None]

    def prepared(self, batch: torch.Tensor) -> torch.Tensor:
        """float32 [N, 48, 48, 1], 0..255 -> [N, *input_shape], what the network was made for."""
        height, width, channels = self.input_shape
        if (height, width) != (48, 48):
            # [N, 1, 48, 48] and [N, 48, 48, 1] are the same memory
            resized = F.interpolate(batch.reshape(-1, 1, 48, 48), (height, width), mode="bilinear", antialias=True)
            batch = resized.reshape(-1, height, width, 1)
        if self.input_range != _RANGE:
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
    path = _find(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        endings = ", ".join(ENDINGS)
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a {endings} file") from error
    card = _read_card(path, labels, input_range)
    try:
        network = open_network(path, content, device)
    except (DataError, UsageError):
        raise
    except Exception as error:  # on damaged files Keras raises almost any type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path}: is no model that can be opened safely ({reason})") from error
    card = {**getattr(network, "card", {}), **card}
    names = _labels(path, network, card)
    beside = path.with_suffix(".validation.npz")
    return Classifier(
        network,
        names,
        name=path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        card=card,
        device=device,
        source=path,
        validation=beside.read_bytes() if beside.exists() else None,
        input_range=_input_range(path, card, int(network.input_shape[-1] or 0)),
    )


def _read_card(path: Path, labels: Sequence[str] | None, input_range: Range | str | None) -> dict[str, Any]:
    """``NAME.json``, an empty one where there is none, with what was given in place of what it says."""
    sidecar = path.with_suffix(".json")
    card: Any = {}
    if sidecar.exists():
        try:
            card = json.loads(sidecar.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{sidecar}: is no JSON that can be read ({error})") from error
        if not isinstance(card, dict):
            raise DataError(f"{sidecar}: is no JSON object")
    if labels is not None:
        card["labels"] = list(labels)
    if input_range is not None:
        card["input_range"] = input_range
    if card.get("outputs", "probabilities") not in ("probabilities", "logits"):
        raise DataError(f'{sidecar}: "outputs" is {card["outputs"]!r}; write "probabilities" or "logits"')
    return card


def _labels(path: Path, network: Network, card: dict[str, Any]) -> tuple[str, ...]:
    """The names of a network's outputs, after a look at the shapes."""
    shapes = " to ".join(
        str(["N", *("?" if n is None else n for n in shape)]).replace("'", "")
        for shape in (network.input_shape, network.output_shape)
    )
    picture = len(network.input_shape) == 3 and all(network.input_shape) and network.input_shape[-1] in (1, 3)
    if not picture or len(network.output_shape) != 1 or not network.output_shape[0]:
        raise DataError(
            f"{path}: maps {shapes}; expected [N, height, width, 1 or 3] of fixed size to one output for each label"
        )
    count, sidecar = network.output_shape[0], path.with_suffix(".json")
    names = card.get("labels")
    if names is None:
        usual = "; ".join(f"{where} {','.join(order)}" for where, order in _ORDERS if len(order) == count)
        raise DataError(
            f"{path}: nothing says what its {count} outputs are called, and guessing would swap expressions. Name them "
            f'with --labels A,B,... or write {{"labels": ["A", "B", ...]}} into {sidecar.name} beside the file'
            + (f". Usual orders of {count}: {usual}" if usual else "")
        )
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f'{sidecar}: "labels" must be a list of names')
    labels = tuple(canonical_label(name) for name in names)
    if len(set(labels)) != len(labels):
        raise DataError(f"{path}: a label occurs twice in {','.join(labels)}")
    if len(labels) != count:
        raise DataError(f"{path}: maps {shapes}; expected one output for each label, of which there are {len(labels)}")
    return labels


def _input_range(path: Path, card: dict[str, Any], channels: int) -> Range:
    given = card.get("input_range", _RANGE)
    try:
        values = np.array(IMAGENET if given == "imagenet" else given, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape not in ((2,), (3, 2)):
        raise DataError(
            f"{path}: its input range is {given!r}; it must be two numbers, what black and white are to the network, "
            'three such pairs for red, green and blue, or "imagenet"'
        )
    if not np.isfinite(values).all() or (values[..., 0] == values[..., 1]).any():
        raise DataError(f"{path}: its input range is {given!r}; it must be two different numbers")
    if values.ndim == 2 and channels != 3:
        raise DataError(f"{path}: its input range is {given!r}, of three channels, but its input has {channels}")
    low, high = values.T
    return (float(low), float(high)) if values.ndim == 1 else tuple(zip(low.tolist(), high.tolist(), strict=True))


def validation_bytes(labels: np.ndarray, probabilities: np.ndarray, name: str) -> bytes:
    """What a classifier said about faces it was not fitted on: by this, label counts can be corrected for its mistakes.

    Args:
        labels: int [M], the true classes.
        probabilities: float32 [M, K].
        name: of the faces, for example ``FER2013 PublicTest``.

    Returns:
        An ``.npz`` file with ``labels`` int16, ``probabilities`` float32 and ``name``.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, labels=labels.astype(np.int16), probabilities=probabilities, name=np.array(name))
    return buffer.getvalue()


def save_classifier(
    model: keras.Model, path: str | Path, card: dict[str, Any], validation: bytes | None = None
) -> None:
    """Write ``NAME.keras`` and, beside it, ``NAME.json``; each appears complete or not at all.

    Args:
        model: from ``pixels`` float32 [N, 48, 48, 1] in 0..255 to probabilities float32 [N, K].
        path: ends in ``.keras``.
        card: what the model file cannot say; at least ``labels``, the names of the K outputs in order.
        validation: from :func:`validation_bytes`; written to ``NAME.validation.npz``.
    """
    from .backend import keras

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.keras"
        keras.saving.save_model(model, draft)
        content = draft.read_bytes()
    if validation is not None:
        write_atomically(path.with_suffix(".validation.npz"), validation)
    write_atomically(path.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    write_atomically(path, content)


def bundled_classifiers() -> list[str]:
    """Names that :func:`load_classifier` takes in place of a file, in alphabetical order."""
    return sorted(path.stem for path in WEIGHTS.glob("*.keras"))


def _find(source: str | Path | None) -> Path:
    name = str(source or BUNDLED)
    if "/" not in name and not name.endswith(ENDINGS):
        bundled = WEIGHTS / f"{name}.keras"
        if bundled.exists():
            return bundled
        known = ", ".join(bundled_classifiers()) or "none"
        if not Path(name).exists():
            raise UsageError(
                f"no bundled classifier is called {name!r} (there is: {known}); give a name or a model file "
                f"({', '.join(ENDINGS)})"
            )
    return Path(name)
