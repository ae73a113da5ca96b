"""Facial-expression classifiers: loading, training by recipes, evaluation, and the bundled weights.

>>> from fergan.classify import load_classifier
>>> load_classifier().predict("face.png")  # float32 [1, 7], in the order of .labels
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import bundled_classifiers
    from .classifier import Classifier, load_classifier
    from .ensemble import soft_vote
    from .export.export import export_classifier
    from .recipes import load_recipe, recipe_names
    from .saving import save_classifier
    from .training.train import train_classifier

__all__ = [
    "Classifier",
    "bundled_classifiers",
    "export_classifier",
    "load_classifier",
    "load_recipe",
    "recipe_names",
    "save_classifier",
    "soft_vote",
    "train_classifier",
]

_HOMES = {
    "Classifier": ".classifier",
    "bundled_classifiers": ".card",
    "export_classifier": ".export.export",
    "load_classifier": ".classifier",
    "load_recipe": ".recipes",
    "recipe_names": ".recipes",
    "save_classifier": ".saving",
    "soft_vote": ".ensemble",
    "train_classifier": ".training.train",
}


def __getattr__(name: str) -> Any:
    """Import a name of the face when it is first used (PEP 562); torch and Keras take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
