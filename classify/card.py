"""Cards: what stands beside a classifier's file and says what the file itself cannot. Imports no torch and no Keras.

``NAME.json`` holds ``labels`` and ``input_range``; ``outputs``, ``output``, ``input_size`` and ``view`` where a network
needs them; and for classifiers that fergan trained their settings, data and scores. ``NAME.md`` is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.faces import SIZE
from ..data.labels import AFFECTNET, ALPHABETIC, FER2013, FERPLUS, RAFDB, canonical_label
from ..runtime.errors import DataError, UsageError
from ..runtime.files import printable, read_json
from .bundled import DEFAULT, WEIGHTS, bundled_classifier, bundled_classifiers
from .known import BESIDES, KNOWN_JUDGES

ENDINGS = (".keras", ".h5", ".hdf5", ".onnx")

Range = tuple[float, float] | tuple[tuple[float, float], ...]
"""Black and white of a network's input, once or for each channel."""
GivenRange = Range | Literal["imagenet"]
View = Literal["48", "own"]
"""How a network is shown faces: as FER2013 has them (48 pixels, gray), or in its own size and colours."""
PIXELS = (0.0, 255.0)
"""Black and white of 8-bit pictures, and of every network that fergan trained."""
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
    ("of folders, which is alphabetical,", ALPHABETIC),
)
"""Orders in which published models number the expressions, to choose from; never one to assume."""
_RANGES = (
    ("0,255", "pixels as they are, where the network scales them itself"),
    ("0,1", "pixels / 255"),
    ("-1,1", "pixels / 127.5 - 1, as for Xception and MobileNet"),
)
_MADE_HERE = {"recipe": "name", "settings": "ema", "ensemble": "members"}
"""Entries in the cards of classifiers that fergan trained or joined, and a key in each; those take :data:`PIXELS`."""


def find_classifier(source: str | Path | None) -> Path:
    """The model file of a name, or the path itself; None for the default, ``best`` for the best bundled one.

    A published network (:data:`.known.KNOWN_JUDGES`) is downloaded when its name is first given.

    Raises:
        UsageError: neither a name nor a file.
        DataError: the download fails.
    """
    name = str(source or DEFAULT)
    if "/" not in name and not name.endswith(ENDINGS):
        if bundled := bundled_classifier(name):
            return bundled
        if not Path(name).exists():
            if name in KNOWN_JUDGES:
                from .published import fetch_judge

                return fetch_judge(name)
            raise UsageError(
                f"no bundled classifier is called {name!r} (known are: best, {', '.join(bundled_classifiers())}); "
                f"give a name or a model file ({', '.join(ENDINGS)}); published ones are {', '.join(KNOWN_JUDGES)}"
            )
    return Path(name)


def refuse_for_several(labels: Sequence[str] | None, input_range: GivenRange | None) -> None:
    """A UsageError where labels or an input range were given for several models at once."""
    if labels is not None or input_range is not None:
        raise UsageError(
            "--labels and --input-range are of one model; with several, write what a file cannot say into the "
            "NAME.json beside it"
        )


def read_card(path: Path, labels: Sequence[str] | None = None, input_range: GivenRange | None = None) -> dict[str, Any]:
    """``NAME.json`` beside a model file, an empty one where there is none; what is given takes the place of its own.

    Raises:
        DataError: it is not a JSON object, or its ``outputs`` are neither ``probabilities`` nor ``logits``.
    """
    sidecar = path.with_suffix(".json")
    card = read_json(sidecar, "write it again, or delete it", 2**24) if sidecar.exists() else {}
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
    notes = path.with_suffix(".md")
    try:
        return notes.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{printable(notes)}: cannot be read ({error})") from error


def family(sha256: str, card: Mapping[str, Any]) -> set[str]:
    """The checksums of a classifier, of what it was calibrated from, of its members and its teacher, and of theirs.

    Two classifiers whose families meet err together. What the card does not tell is missing.
    """
    calibration, ensemble, teacher = (card.get(key) for key in ("calibration", "ensemble", "teacher"))
    found: list[Any] = [sha256]
    if isinstance(calibration, Mapping):
        found.append(calibration.get("from_sha256"))
    members = ensemble.get("members") if isinstance(ensemble, Mapping) else None
    for row in [*(members if isinstance(members, list) else []), teacher]:
        if isinstance(row, Mapping):
            further = row.get("family")
            found += [row.get("sha256"), *(further if isinstance(further, list) else [])]
    return {checksum for checksum in found if isinstance(checksum, str)}


def described(name: str, sha256: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """How a card names another classifier, a member or a teacher."""
    accuracy = (card.get("scores") or {}).get("accuracy")
    further = sorted(family(sha256, card) - {sha256})
    known = {"name": name, "sha256": sha256, "accuracy": accuracy, "family": further or None}
    return {key: value for key, value in known.items() if value is not None}


def made_here(path: Path, card: Mapping[str, Any]) -> bool:
    """Whether fergan made a model: it is bundled, or its card tells of a training or an ensemble."""
    recorded = any(isinstance(card.get(key), Mapping) and inner in card[key] for key, inner in _MADE_HERE.items())
    return recorded or path.parent == WEIGHTS


def card_labels(
    path: Path, card: Mapping[str, Any], input_shape: Sequence[int | None], output_shape: Sequence[int | None]
) -> tuple[str, ...]:
    """The names of a network's outputs, :data:`.known.BESIDES` among them, after a look at the shapes."""
    shapes = " to ".join(
        str(["N", *("?" if n is None else n for n in shape)]).replace("'", "") for shape in (input_shape, output_shape)
    )
    if len(input_shape) == 3 and None in input_shape[:2] and input_shape[-1] in (1, 3):
        raise DataError(
            f"{path}: maps {shapes} and takes pictures of any size; write the one that it was trained with into "
            f'{path.with_suffix(".json").name}, such as {{"input_size": 224}} or {{"input_size": [height, width]}}'
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
        raise DataError(
            f"{path}: maps {shapes}; expected one output for each label, of which there are {len(labels)}"
            + (f" (call outputs that are not expressions {' and '.join(BESIDES)})" if len(labels) < count else "")
        )
    if len(set(labels) - set(BESIDES)) < 2:
        raise DataError(f"{path}: has the labels {','.join(labels)}; a classifier has two expressions or more")
    return labels


def card_range(path: Path, card: Mapping[str, Any], channels: int, *, whole: bool = False) -> Range:
    """Black and white of a network's input, as the card says it; never a guess.

    Args:
        path: of the model file.
        card: what is known of it.
        channels: of its input.
        whole: whether the input is of whole numbers 0..255 (uint8), which says the range by itself.

    Raises:
        DataError: nothing says it, or what says it is not a range.
    """
    given = card.get("input_range")
    if given is None:
        if whole or made_here(path, card):
            return PIXELS
        usual = [f"{text} ({what})" for text, what in _RANGES]
        usual += ["imagenet (torchvision's, timm's and HSEmotion's networks)"] if channels == 3 else []
        raise DataError(
            f"{path}: nothing says what input range it takes, and a wrong one makes confident nonsense. Give "
            f'--input-range, or write {{"input_range": [black, white]}} into {path.with_suffix(".json").name} beside '
            f"the file. Usual: {'; '.join(usual)}"
        )
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
    found: Range = (
        (float(low), float(high)) if values.ndim == 1 else tuple(zip(low.tolist(), high.tolist(), strict=True))
    )
    if whole and found != PIXELS:
        raise DataError(f"{path}: its input is of whole numbers (uint8), so its range is 0..255, not {given!r}")
    return found


def card_size(path: Path, card: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) that ``input_size`` names for a network that takes pictures of any size; None without it."""
    given = card.get("input_size")
    if given is None:
        return None
    both = [given, given] if isinstance(given, int) else given
    if not isinstance(both, list) or len(both) != 2 or not all(type(n) is int and 8 <= n <= 2048 for n in both):
        raise DataError(f'{path}: its "input_size" is {given!r}; write pixels from 8 to 2048, or [height, width]')
    return both[0], both[1]


def card_view(path: Path, card: Mapping[str, Any], input_shape: Sequence[int], wanted: View | None = None) -> View:
    """How a network is shown faces.

    Networks for 48 gray pixels, and those that fergan trained, see FER2013's 48x48; so do published ones that learned
    from FER2013, as their cards say. Other people's networks of a larger or an RGB input see the face as they were made
    to see it. ``wanted``, and ``view`` in the card, say otherwise.

    Raises:
        DataError: the card's ``view`` is neither.
    """
    given = wanted or card.get("view")
    if given not in (None, "48", "own"):
        raise DataError(f'{path}: its "view" is {given!r}; write "48" or "own"')
    height, width, channels = input_shape
    if (height, width, channels) == (SIZE, SIZE, 1):
        return "48"
    if given is None:
        larger = max(height, width) > SIZE or channels == 3
        return "own" if larger and not made_here(path, card) else "48"
    return "own" if given == "own" else "48"
