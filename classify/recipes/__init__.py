"""Recipes: a network and how it is trained, each a TOML file in ``recipes/``. Imports no torch and no Keras.

A recipe's file has ``title``, ``source`` and ``notes``, the table ``[model]`` (:class:`ModelSettings`; all other keys
are options of the architecture's function) and the table ``[training]``
(:class:`TrainingSettings`, with ``[training.augmentation]``). With
``extends = "NAME"`` it needs only what differs from another recipe: a bundled one, or a ``.toml`` file beside it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.errors import DataError, UsageError
from ...runtime.files import read_bytes
from .overrides import overridden
from .settings import ModelSettings, Recipe, recipe_from
from .training_settings import Augmentation, TrainingSettings

__all__ = ["Augmentation", "ModelSettings", "Recipe", "Summary", "TrainingSettings", "load_recipe", "read_recipe"]
__all__ += ["recipe_names", "recipe_path", "recipe_toml", "settings_of", "summaries"]

FOLDER = Path(__file__).parent


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
        DataError: the file is missing, is not TOML, or holds something that no recipe has.
        UsageError: no recipe has this name; an override's key is unknown, or its value of the wrong type or range.
    """
    path = recipe_path(name)
    table = read_recipe(path)
    try:
        recipe = recipe_from(path.stem, table)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    return recipe_from(path.stem, overridden(table, overrides)) if overrides else recipe


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


def recipe_path(name: str | Path) -> Path:
    """Find a recipe's file: a bundled one by name, or the path itself.

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
        table = read_recipe(FOLDER / f"{name}.toml")
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


def read_recipe(path: Path) -> dict[str, Any]:
    """The tables of a recipe's file, with what it takes over from the recipe that it extends.

    Raises:
        DataError: a file is missing, or is not TOML or not a recipe; or recipes extend one another in a circle.
    """
    return _read(path, ())


def _read(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in below:
        circle = " -> ".join(one.stem for one in (*below[below.index(path.resolve()) :], path))
        raise DataError(f"{path}: extends itself ({circle}); take one 'extends' out")
    try:
        table = tomllib.loads(read_bytes(path, "give a recipe's name or its .toml file").decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not TOML ({error})") from error
    unknown = set(table) - {"extends", "title", "source", "notes", "model", "training"}
    if unknown:
        raise DataError(
            f"{path}: has {', '.join(sorted(unknown))}; a recipe has extends, title, source, notes, model, training"
        )
    if "extends" in table:
        table = _merged(_read(_extended(path, table.pop("extends")), (*below, path.resolve())), table)
    for key, kind in {"title": str, "source": str, "model": dict}.items():
        if not isinstance(table.get(key), kind):
            raise DataError(f"{path}: {key} is missing or not a {'table' if kind is dict else 'string'}")
    return table


def _extended(path: Path, name: Any) -> Path:
    """The file of the recipe that ``path`` extends."""
    if not isinstance(name, str):
        raise DataError(f"{path}: extends must be a recipe's name or a .toml file, not {name!r}")
    try:
        found = recipe_path(name)
    except UsageError as error:
        raise DataError(f"{path}: extends {name!r}, but {error}") from error
    return found if found.parent == FOLDER else path.parent / found


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
