"""Loading, saving and applying a facial-expression classifier."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..data.errors import DataError, UsageError
from ..data.images import write_atomically
from .inference import Network, open_network

if TYPE_CHECKING:
    from .backend import keras

WEIGHTS = Path(__file__).parent / "weights"
BUNDLED = "fernet"
_BATCH = {"cpu": 32, "cuda": 512}
"""Faces that a network sees at once. On CPUs more are no faster, and a single face waits for a whole batch."""


class Classifier:
    """A facial-expression classifier that is ready to use.

    Attributes:
        name: the model's file name without its ending.
        labels: the K class names, in the order of the probabilities.
        sha256: of the model file.
        engine: what runs the network: ``torch``, or ``keras`` where a layer of it has no translation.
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
    ) -> None:
        self.name, self.labels, self.sha256, self.card = name, labels, sha256, card
        self.source, self.validation = source, validation
        self.engine = network.engine
        self._network, self._device = network, device

    def predict(self, faces: np.ndarray) -> np.ndarray:
        """Expression probabilities of prepared faces.

        Args:
            faces: uint8 [N, 48, 48], gray, 0..255 (see :func:`fergan.data.faces.prepare_faces`).

        Returns:
            float32 [N, K], rows sum to 1. A row depends on its face alone: the network always sees batches of one
            size, the last one filled up, because the size changes the last bits of the result.

        Raises:
            UsageError: another dtype or shape.
        """
        return self._apply(self._network.outputs, faces)

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
        return self._apply(self._pooled, faces)

    def _pooled(self, batch: torch.Tensor) -> torch.Tensor:
        entering = self._network.head_inputs(batch)
        return entering.mean(dim=(1, 2)) if entering.ndim == 4 else entering.flatten(1)

    def _apply(self, network: Callable[[torch.Tensor], torch.Tensor], faces: np.ndarray) -> np.ndarray:
        faces = np.asarray(faces)
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (48, 48):
            raise UsageError(
                f"faces must be uint8 [N, 48, 48], not {faces.dtype} {list(faces.shape)}; use prepare_faces"
            )
        size = _BATCH[self._device]
        rows = []
        with torch.inference_mode(), _exact(self._device):
            for start in range(0, len(faces) or 1, size):  # no faces: one batch of nothing tells the width
                part = faces[start : start + size]
                batch = np.zeros((size, 48, 48, 1), np.uint8)
                batch[: len(part), :, :, 0] = part
                outputs = network(torch.from_numpy(batch).to(self._device).float())
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


def load_classifier(source: str | Path | None = None, device: str = "auto") -> Classifier:
    """Open a classifier that :func:`save_classifier` or ``fergan train classifier`` wrote, or a bundled one.

    Nothing in the file is executed: Keras' safe mode stays on.

    Args:
        source: a ``.keras`` file with its ``.json`` beside it, or the name of a bundled model; None for the best one.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DataError: the file or its ``.json`` is missing, damaged, or not a model of 48x48 gray faces.
        UsageError: an unknown device or name.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r} is not one of auto, cpu, cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    path = _find(source)
    sidecar = path.with_suffix(".json")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a .keras file") from error
    try:
        card = json.loads(sidecar.read_text())
        labels = tuple(str(label) for label in card["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{sidecar}: is missing or holds no list "labels" ({error}); it must name the outputs of {path.name}'
        ) from error
    try:
        network = open_network(path, content, device)
    except Exception as error:  # on damaged files Keras raises almost any type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path}: is no model that Keras can load safely ({reason})") from error
    if network.input_shape != (48, 48, 1) or network.output_shape != (len(labels),):
        shapes = " to ".join(
            str(["N", *shape]).replace("'", "") for shape in (network.input_shape, network.output_shape)
        )
        raise DataError(
            f"{path}: maps {shapes}; "
            f"expected [N, 48, 48, 1] to [N, {len(labels)}], one output for each label in {sidecar.name}"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    beside = path.with_suffix(".validation.npz")
    validation = beside.read_bytes() if beside.exists() else None
    return Classifier(
        network,
        labels,
        name=path.stem,
        sha256=sha256,
        card=card,
        device=device,
        source=path,
        validation=validation,
    )


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
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.keras"
        keras.saving.save_model(model, draft)
        content = draft.read_bytes()
    if validation is not None:
        write_atomically(path.with_suffix(".validation.npz"), validation)
    write_atomically(path.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    write_atomically(path, content)


def _find(source: str | Path | None) -> Path:
    name = str(source or BUNDLED)
    if "/" not in name and not name.endswith((".keras", ".h5", ".hdf5")):
        bundled = WEIGHTS / f"{name}.keras"
        if bundled.exists():
            return bundled
        known = ", ".join(sorted(path.stem for path in WEIGHTS.glob("*.keras"))) or "none"
        if not Path(name).exists():
            raise UsageError(
                f"no bundled classifier is called {name!r} (there is: {known}); give a name or a .keras file"
            )
    return Path(name)
