"""Networks of classifiers, and a first try of one in a child process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from ...runtime.errors import DataError, first_line
from ..keras_files.errors import Untranslatable
from ..keras_files.safety import Refused
from .bounded import Limits, try_in_child

_OURS = Path(__file__).parents[1] / "weights"
"""The folder of what comes with fergan."""
_LARGE = 2.0**20
"""Inputs up to which a network must say something finite; pixels are below 256."""


class Network(Protocol):
    """The network of a classifier, ready to run.

    Attributes:
        engine: ``torch`` (see :mod:`fergan.classify.translate.graph`), ``onnxruntime`` or ``keras``.
        input_name, output_name: of the input layer and of the last one.
        input_shape, output_shape: of one input and one output, without the batch; channels last.
        batch: how many inputs the network takes at once, None where that is free.
        whole: whether the input is of whole numbers 0..255.
        arrays: (name, shape) of the stored weights.
    """

    engine: str
    input_name: str
    output_name: str
    batch: int | None
    whole: bool

    @property
    def arrays(self) -> tuple[tuple[str, tuple[int, ...]], ...]: ...

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> [N, *output_shape]."""

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [N, *input_shape] -> what enters the last layer that has a kernel."""


def model_digest(content: bytes, external: bytes = b"") -> str:
    """SHA-256 of a model: of its file and, where arrays of it stand in further files, of their digest."""
    digest = hashlib.sha256(content)
    digest.update(external)
    return digest.hexdigest()


def open_tried(path: Path, limits: Limits, make: Callable[[str], Network], device: str = "cpu") -> Guarded:
    """A network that was opened and run in a child process first, within limits (see :mod:`.bounded`).

    Args:
        path: of the file, for errors.
        limits: of the file; those of its other tries, where there are any.
        make: opens the network on a device.
        device: ``cpu`` or ``cuda``; the child uses the CPU.

    Raises:
        DataError: the child met one of its limits, or the network's outputs are not numbers.
        Refused, Untranslatable: as ``make``.
    """
    try_first(path, limits, lambda: _run_once(path, make("cpu")))
    return Guarded(path, make(device))


def try_first(path: Path, limits: Limits, action: Callable[[], object]) -> None:
    """Run ``action`` in a child process, unless the file came with fergan, like the code that reads it."""
    if path.parent != _OURS:
        try_in_child(path, limits, action, {kind.__name__: kind for kind in (DataError, Refused, Untranslatable)})


def _run_once(path: Path, network: Network) -> None:
    """Run a network on black and on noise, once with a batch as large as it will see.

    Raises:
        DataError: it fails, or says something that is not a number.
    """
    shape = tuple(int(n or 0) for n in network.input_shape)
    if len(shape) != 3 or not all(shape):
        return  # refused later, by name
    batch = network.batch or (16 if max(shape[:2]) <= 96 else 2)
    noise = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))
    few = noise[: network.batch or 1]
    with torch.inference_mode():
        for inputs in (torch.zeros_like(few), few, 255 * noise):
            Guarded(path, network).outputs(inputs)


class Guarded:
    """A network whose failures on pictures are errors that name its file; otherwise the same (see :class:`Network`)."""

    def __init__(self, path: Path, network: Network) -> None:
        self._path, self._network = path, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_network"], name)

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        found = self._run(self._network.outputs, inputs)
        if not torch.isfinite(found).all() and (inputs.abs() <= _LARGE).all():  # a client's own NaN comes back as it is
            raise DataError(
                f"{self._path}: says NaN or infinity about ordinary pixels; its weights are damaged, or its training "
                "diverged: train or export it anew"
            )
        return found

    def head_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._run(self._network.head_inputs, inputs)

    def _run(self, function: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        try:
            found = function(inputs)
            if isinstance(found, torch.Tensor) and len(found) == len(inputs):
                return found
            reason = "its output is not one row for each picture"
        except DataError:
            raise
        except Exception as error:  # of Keras, torch or onnxruntime, on networks that contradict themselves
            full = isinstance(error, MemoryError) or "allocate memory" in str(error)  # within Keras' own error
            reason = "it cannot allocate memory" if full else first_line(error)
        raise DataError(f"{self._path}: its network fails on pictures ({reason}); export it anew")
