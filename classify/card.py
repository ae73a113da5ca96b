"""Cards: what stands beside a classifier's file and says what the file itself cannot. Imports no torch and no Keras.

``NAME.json`` holds ``labels``, ``input_range`` and ``outputs``, and for classifiers that fergan trained their settings,
data and scores; ``NAME.md`` is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.labels import AFFECTNET, FER2013, FERPLUS, RAFDB, canonical_label
from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable
from .files.bounded import read_regular

WEIGHTS = Path(__file__).parent / "weights"
BUNDLED = "fernet"
ENDINGS = (".keras", ".h5", ".hdf5", ".onnx")

Range = tuple[float, float] | tuple[tuple[float, float], ...]
"""Black and white of a network's input, once or for each channel."""
GivenRange = Range | Literal["imagenet"]
PIXELS = (0.0, 255.0)
"""Black and white of 8-bit pictures, and of a network of which nobody says otherwise."""
IMAGENET = tuple(
    (-mean / deviation, (1 - mean) / deviation) for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
)
"""Black and white of each channel for networks of torchvision and timm: red, green, blue of 0..1, less ImageNet's mean,
by its deviation."""
_ORDERS = (
    ("of fer2013.csv", FER2013),
    ("of folders, which is alphabetical,", tuple(sorted(FER2013))),
    ("of AffectNet", AFFECTNET[:7]),
    ("of RAF-DB", RAFDB),
    ("of FER+", FERPLUS),
    ("of AffectNet", AFFECTNET),
    ("of folders, which is alphabetical,", tuple(sorted(FERPLUS))),
)
"""Orders in which published models number the expressions, to choose from; never one to assume."""


def bundled_classifiers() -> dict[str, Path]:
    """Model files by the names that :func:`.classifier.load_classifier` takes, in alphabetical order."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.keras"))}


def find_classifier(source: str | Path | None) -> Path:
    """The model file of a bundled name, or the path itself; None for :data:`BUNDLED`.

    Raises:
        UsageError: neither a bundled name nor a file.
    """
    name = str(source or BUNDLED)
    if "/" not in name and not name.endswith(ENDINGS):
        bundled = bundled_classifiers()
        if name in bundled:
            return bundled[name]
        if not Path(name).exists():
            raise UsageError(
                f"no bundled classifier is called {name!r} (known are: {', '.join(bundled) or 'none'}); give a name or "
                f"a model file ({', '.join(ENDINGS)})"
            )
    return Path(name)


def read_card(path: Path, labels: Sequence[str] | None = None, input_range: GivenRange | None = None) -> dict[str, Any]:
    """``NAME.json`` beside a model file, an empty one where there is none.

    Args:
        path: of the model file.
        labels, input_range: in place of what the card says.

    Raises:
        DataError: it is no JSON object, or its ``outputs`` are neither ``probabilities`` nor ``logits``.
    """
    sidecar = path.with_suffix(".json")
    card: Any = {}
    if sidecar.exists():
        try:
            card = json.loads(read_regular(sidecar, 2**24))  # bytes: UTF-16 and byte order marks too
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{printable(sidecar)}: is not readable as JSON ({printable(error)})") from error
        if not isinstance(card, dict):
            raise DataError(f"{printable(sidecar)}: holds no JSON object")
    if labels is not None:
        card["labels"] = list(labels)
    if input_range is not None:
        card["input_range"] = input_range
    if card.get("outputs", "probabilities") not in ("probabilities", "logits"):
        raise DataError(f'{sidecar}: "outputs" is {card["outputs"]!r}; write "probabilities" or "logits"')
    return card


def read_model_card(path: Path) -> str | None:
    """``NAME.md`` beside a model file, None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    beside = path.with_suffix(".md")
    try:
        return beside.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{printable(beside)}: cannot be read ({error})") from error


def card_labels(
    path: Path, card: Mapping[str, Any], input_shape: Sequence[int | None], output_shape: Sequence[int | None]
) -> tuple[str, ...]:
    """The names of a network's outputs, after a look at the shapes."""
    shapes = " to ".join(
        str(["N", *("?" if n is None else n for n in shape)]).replace("'", "") for shape in (input_shape, output_shape)
    )
    picture = len(input_shape) == 3 and all(input_shape) and input_shape[-1] in (1, 3)
    if not picture or len(output_shape) != 1 or not output_shape[0]:
        raise DataError(
            f"{path}: maps {shapes}; expected [N, height, width, 1 or 3] of fixed size to one output for each label"
        )
    count, sidecar = output_shape[0], path.with_suffix(".json")
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


def card_range(path: Path, card: Mapping[str, Any], channels: int) -> Range:
    """Black and white of a network's input, as the card says it."""
    given = card.get("input_range", PIXELS)
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
