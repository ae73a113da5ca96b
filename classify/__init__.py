"""Facial-expression classifiers: loading, training by recipes, evaluation, and the bundled weights.

>>> from fergan.classify import load_classifier
>>> load_classifier().predict("face.png")  # float32 [1, 7], in the order of .labels
"""

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .bundled import bundled_classifiers as bundled_classifiers
    from .classifier import Classifier as Classifier
    from .classifier import load_classifier as load_classifier
    from .ensemble import soft_vote as soft_vote
    from .export.export import export_classifier as export_classifier
    from .recipes import load_recipe as load_recipe
    from .recipes import recipe_names as recipe_names
    from .saving import save_classifier as save_classifier
    from .training.train import train_classifier as train_classifier

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Classifier": "classifier",
        "bundled_classifiers": "bundled",
        "export_classifier": "export.export",
        "load_classifier": "classifier",
        "load_recipe": "recipes",
        "recipe_names": "recipes",
        "save_classifier": "saving",
        "soft_vote": "ensemble",
        "train_classifier": "training.train",
    },
)
