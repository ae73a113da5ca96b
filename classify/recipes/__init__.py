"""Recipes: a network and how it is trained, each a TOML file in ``recipes/``. Imports no torch and no Keras at start.

A recipe's file has ``title``, ``source`` and ``notes``, the table ``[model]`` (:class:`ModelSettings`; all other keys
are options of the architecture's function) and the table ``[training]``
(:class:`~.training_settings.TrainingSettings`, with ``[training.augmentation]``).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import reprlib
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from ..backend import keras
    from ..training.settings import TrainingSettings

FOLDER = Path(__file__).parent
ALIASES = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}
"""Short names of settings, for overrides."""


@dataclass(frozen=True)
class ModelSettings:
    """What network is trained, where its weights start, and which of its layers learn.

    Layers are frozen only where there is something to keep: with ``weights = "none"`` all of them learn from the start,
    whatever the other settings say.

    Attributes:
        architecture: a function of :data:`fergan.classify.networks.registry.ARCHITECTURES`.
        size: side of the picture that the network sees, pixels; 48x48 faces are resized within the network.
        weights: ``none`` (random), ``imagenet`` (backbones of ``keras.applications``; fetched once by Keras), or a
            ``.keras``, ``.weights.h5`` or ``.h5`` file.
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
            raise UsageError(f"freeze_matching {self.freeze_matching!r} is no regular expression ({error})") from error

    @property
    def phase_one_epochs(self) -> int:
        """Epochs of :func:`fergan.classify.networks.registry.set_trainable`'s phase 1: none without weights to keep."""
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


def recipe_names() -> list[str]:
    """The recipes that come with fergan, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: one of :func:`recipe_names`, or the path of a TOML file.
        overrides: ``key=value`` each, the value as in TOML: ``lr=0.01``, ``augmentation.mixup=0.2``,
            ``model.widths=[48,96,160,256]``. Keys of ``[training]`` need no prefix; others neither where only one table
            has them.

    Raises:
        DataError: the file is missing, no TOML, or holds something that no recipe has.
        UsageError: no recipe has this name; an override's key is unknown, or its value of the wrong type or range.
    """
    path = recipe_path(name)
    table = _read(path)
    try:
        recipe = _recipe(path.stem, table)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    if not overrides:
        return recipe
    known = _known_keys(table["model"])
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"{override!r} sets nothing; write KEY=VALUE, for example lr=0.01")
        *parents, last = resolve(key.strip(), known).split(".")
        inner = table
        for part in parents:
            inner = inner.setdefault(part, {})
        value = _value(text.strip())
        if parents == ["model"] and last not in _fields(ModelSettings):
            value = _like(inner[last], value, last)
        inner[last] = value
    return _recipe(path.stem, table)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """All settings by their full names, such as ``training.augmentation.mixup`` and ``model.widths``."""
    model = dataclasses.asdict(recipe.model)
    options = dict(model.pop("options"))

    def flat(table: Mapping[str, Any], where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            found |= flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {where + key: value}
        return found

    return flat({**model, **options}, "model.") | flat(dataclasses.asdict(recipe.training), "training.")


def recipe_toml(recipe: Recipe) -> str:
    """A recipe as the text of a file that :func:`load_recipe` reads back to the same settings."""
    lines = [f"{key} = {_toml(getattr(recipe, key))}" for key in ("title", "source", "notes")]
    table = ""
    # the settings of a table stand before its tables, as TOML wants it
    for key, value in sorted(settings_of(recipe).items(), key=lambda item: item[0].count(".")):
        parent, _, name = key.rpartition(".")
        if parent != table:
            table = parent
            lines += ["", f"[{table}]"]
        lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def build_model(model: ModelSettings, classes: int) -> keras.Model:
    """The network of a recipe without its head; see :func:`fergan.classify.networks.registry.build_model`."""
    from ..networks.registry import build_model as build

    return build(model, classes)


def recipe_path(name: str | Path) -> Path:
    """Where a recipe's file is: a bundled one by name, or the path itself.

    Raises:
        UsageError: nothing has this name.
    """
    text = str(name)
    if text.endswith(".toml") or "/" in text:
        return Path(name)
    if text in recipe_names():
        return FOLDER / f"{text}.toml"
    near = difflib.get_close_matches(text, recipe_names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(recipe_names())}"
    raise UsageError(f"no recipe is called {text!r}; {hint} (or give a .toml file)")


@dataclass(frozen=True)
class Summary:
    """A line of ``fergan recipes``.

    Attributes:
        name: of the recipe.
        title: a few words.
        source: the project or paper that it follows.
        size: side of the picture that the network sees, pixels.
        weights: where the weights start.
        parameters: of the network with a head of 7 classes; None where nobody counted.
        multiply_adds: for one face; None where nobody counted.
        scores: what was measured, from ``scores.json``, the best first: ``split``, ``views`` (``single``, ``flip`` or
            ``ten``), ``n`` faces, ``accuracy`` 0..1, ``epochs``, ``short`` (far fewer epochs than the recipe's), and
            ``of`` for what was judged.
    """

    name: str
    title: str
    source: str
    size: int
    weights: str
    parameters: int | None
    multiply_adds: int | None
    scores: tuple[Mapping[str, Any], ...]


def summaries() -> list[Summary]:
    """All bundled recipes, the smallest network first. Builds nothing: sizes are kept in ``sizes.json``."""
    sizes = json.loads((FOLDER / "sizes.json").read_text())
    scores = json.loads((FOLDER / "scores.json").read_text())
    found = []
    for name in recipe_names():
        table = _read(FOLDER / f"{name}.toml")
        model, size = table["model"], sizes.get(name, {})
        measured = sorted(scores.get(name, []), key=lambda score: -score["accuracy"])
        found.append(
            Summary(
                name,
                table["title"],
                table["source"],
                model.get("size", ModelSettings.size),
                model.get("weights", ModelSettings.weights),
                size.get("parameters"),
                size.get("multiply_adds"),
                tuple(measured),
            )
        )
    return sorted(found, key=lambda one: (one.multiply_adds or math.inf, one.name))


# ---------------------------------------------------------------------------------------------------------------------
# TOML tables to settings


def _read(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a recipe's name or its .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no TOML ({error})") from error
    unknown = set(table) - {"title", "source", "notes", "model", "training"}
    if unknown:
        raise DataError(f"{path}: has {', '.join(sorted(unknown))}; a recipe has title, source, notes, model, training")
    for key, kind in {"title": str, "source": str, "model": dict}.items():
        if not isinstance(table.get(key), kind):
            raise DataError(f"{path}: {key} is missing or no {'table' if kind is dict else 'text'}")
    return table


def _recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    from ..training.settings import TrainingSettings

    own = {key: value for key, value in table["model"].items() if key in _fields(ModelSettings) and key != "options"}
    options = {key: value for key, value in table["model"].items() if key not in own}
    if "architecture" not in own:
        raise UsageError("model: architecture is missing")
    model = dataclasses.replace(_settings(ModelSettings, own, "model."), options=options)
    training = _typed(table.get("training", {}), TrainingSettings, "training")
    return Recipe(name, table["title"], table["source"], model, training, str(table.get("notes", "")).strip())


def _fields(kind: Any) -> dict[str, Any]:
    """Name -> type of a dataclass's fields."""
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in dataclasses.fields(kind)}


def _settings(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table; UsageError names the key that does not fit."""
    hints = _fields(kind)
    for key in table:
        if key not in hints:
            raise UsageError(f"there is no setting {where}{key}{_hint(key, list(hints))}")
    return kind(**{key: _typed(value, hints[key], where + key) for key, value in table.items()})


def _typed(value: Any, hint: Any, key: str) -> Any:
    """A value of TOML as the type that a setting has, or UsageError."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UsageError(f"{key} must be a table, not {value!r}")
        return _settings(hint, value, f"{key}.")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{key} must be a list such as [1, 2], not {value!r}")
        item, _ = typing.get_args(hint)  # tuple[item, ...]
        return tuple(_typed(one, item, key) for one in value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if hint is float and number:
        return float(value)
    if hint is int and number and value == int(value):
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    wanted = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}.get(hint, str(hint))
    raise UsageError(f"{key} must be {wanted}, not {reprlib.repr(value)}")


def _like(old: Any, new: Any, key: str) -> Any:
    """A value for an architecture's option, whose type is that of the recipe's own value."""
    if isinstance(old, list):
        item = type(old[0]) if old else int
        return list(_typed(new, tuple[item, ...], f"model.{key}"))  # type: ignore[valid-type]
    return _typed(new, type(old), f"model.{key}")


def _value(text: str) -> Any:
    """``0.01``, ``true``, ``[1, 2]``, ``"text"`` or text without quotes."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _known_keys(model: Mapping[str, Any]) -> list[str]:
    """All settings of a recipe with their tables, such as ``training.augmentation.mixup``."""
    from ..training.settings import TrainingSettings

    options = [f"model.{key}" for key in model]
    own = [f"model.{key}" for key in _fields(ModelSettings) if key != "options"]
    return list(dict.fromkeys([*_dotted(TrainingSettings, "training."), *own, *options]))


def _dotted(kind: Any, where: str) -> list[str]:
    keys: list[str] = []
    for name, hint in _fields(kind).items():
        keys += _dotted(hint, f"{where}{name}.") if dataclasses.is_dataclass(hint) else [where + name]
    return keys


def resolve(key: str, known: Sequence[str]) -> str:
    """The full name of a setting: ``lr`` -> ``training.learning_rate``.

    Raises:
        UsageError: no setting of ``known`` is called so, or more than one.
    """
    *table, last = key.split(".")
    wanted = ".".join([*table, ALIASES.get(last, last)])
    for name in (wanted, f"training.{wanted}"):
        if name in known:
            return name
    found = [name for name in known if name.endswith(f".{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{key!r} could be {' or '.join(found)}; write one of them")
    shown = [name.removeprefix("training.") for name in known]
    raise UsageError(f"there is no setting {key!r}{_hint(key, shown)}")


def _hint(key: str, known: Sequence[str]) -> str:
    """The settings whose names are near, or all of them."""
    by_last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], [*by_last, *ALIASES], n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(dict.fromkeys(by_last.get(one, one) for one in near))}?"
    return f"; known are: {', '.join(known)}"
