"""The settings of a recipe, and their reading from TOML tables. Imports no torch and no Keras."""

from __future__ import annotations

import dataclasses
import difflib
import re
import reprlib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...runtime.errors import UsageError
from .training_settings import TrainingSettings

ALIASES = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}
"""Short names of settings, for overrides."""


@dataclass(frozen=True)
class ModelSettings:
    """The network that is trained, the start of its weights, and the layers that learn.

    Layers are frozen only where there is something to keep: with ``weights = "none"`` all of them learn from the start,
    whatever the other settings say.

    Attributes:
        architecture: a function of :data:`fergan.classify.networks.registry.ARCHITECTURES`.
        size: side of the picture that the network sees, pixels; 48x48 faces are resized within the network.
        weights: ``none`` (random), ``imagenet`` (backbones of ``keras.applications``; fetched once by Keras), a
            bundled classifier's name, or a ``.keras``, ``.weights.h5`` or ``.h5`` file.
        freeze_first: so many layers stay as they are, counted as ``keras.applications`` lists them without their top,
            the input layer included.
        train_last: only so many layers learn, counted likewise from the end; 0 for no limit.
        freeze_matching: regular expression; layers in whose name it is found stay as they are.
        freeze_batch_norm: the backbone's batch normalisation stays as it is even where the layers around it learn.
        head_epochs: epochs at the start in which only the head (with the ``dense`` layers) learns.
        head_learning_rate: learning rate of those epochs; later ones have the training's own.
        dense: widths of ReLU layers between the pooled features and the head.
        options: further arguments of the architecture's function.
    """

    architecture: str
    size: int = 48
    weights: str = "none"
    freeze_first: int = 0
    train_last: int = 0
    freeze_matching: str = ""
    freeze_batch_norm: bool = False
    head_epochs: int = 0
    head_learning_rate: float = 1e-3
    dense: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise UsageError(f"size must be 16..1024 pixels, not {self.size}")
        for key in ("freeze_first", "train_last", "head_epochs"):
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must not be negative, but is {getattr(self, key)}")
        if self.freeze_first and self.train_last:
            raise UsageError("freeze_first and train_last exclude each other; set one of them to 0")
        if not self.head_learning_rate > 0:
            raise UsageError(f"head_learning_rate must be above 0, not {self.head_learning_rate}")
        if any(width < 1 for width in self.dense):
            raise UsageError(f"dense must hold widths of 1 or more, not {list(self.dense)}")
        try:
            re.compile(self.freeze_matching)
        except re.error as error:
            raise UsageError(f"freeze_matching {self.freeze_matching!r}: not a regular expression ({error})") from error

    @property
    def phase_one_epochs(self) -> int:
        """Epochs of :func:`fergan.classify.networks.freezing.set_trainable`'s phase 1: none without weights to keep."""
        return 0 if self.weights == "none" else self.head_epochs


@dataclass(frozen=True)
class Recipe:
    """A network and how to train it.

    Attributes:
        name: of the file, without its ending.
        title: a few words.
        source: the project or paper that it follows.
        model: the network.
        training: how it is trained; augmentation is part of it.
        notes: what is known of the original, and what is ours.
    """

    name: str
    title: str
    source: str
    model: ModelSettings
    training: TrainingSettings
    notes: str = ""


def recipe_from(name: str, table: Mapping[str, Any]) -> Recipe:
    """A recipe from the tables of its file; UsageError names the key that does not fit."""
    own = {
        key: value for key, value in table["model"].items() if key in field_types(ModelSettings) and key != "options"
    }
    options = {key: value for key, value in table["model"].items() if key not in own}
    if "architecture" not in own:
        raise UsageError("model: architecture is missing")
    model = dataclasses.replace(_settings(ModelSettings, own, "model."), options=options)
    training = typed(table.get("training", {}), TrainingSettings, "training")
    return Recipe(name, table["title"], table["source"], model, training, str(table.get("notes", "")).strip())


def field_types(kind: Any) -> dict[str, Any]:
    """Name -> type of a dataclass's fields."""
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in dataclasses.fields(kind)}


def _settings(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table; UsageError names the key that does not fit."""
    hints = field_types(kind)
    for key in table:
        if key not in hints:
            raise UsageError(f"there is no setting {where}{key}{hint(key, list(hints))}")
    return kind(**{key: typed(value, hints[key], where + key) for key, value in table.items()})


def typed(value: Any, hint: Any, key: str) -> Any:
    """A value of TOML as the type that a setting has, or UsageError."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UsageError(f"{key} must be a table, not {value!r}")
        return _settings(hint, value, f"{key}.")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{key} must be a list such as [1, 2], not {value!r}")
        item, _ = typing.get_args(hint)  # tuple[item, ...]
        return tuple(typed(one, item, key) for one in value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if hint is float and number:
        return float(value)
    if hint is int and number and value == int(value):
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    wanted = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}.get(hint, str(hint))
    raise UsageError(f"{key} must be {wanted}, not {reprlib.repr(value)}")


def hint(key: str, known: Sequence[str]) -> str:
    """The settings whose names are near, or all of them."""
    by_last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], [*by_last, *ALIASES], n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(dict.fromkeys(by_last.get(one, one) for one in near))}?"
    return f"; known are: {', '.join(known)}"
