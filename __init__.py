"""fergan: which facial expressions does a face generator make?

Latents become faces (:mod:`fergan.stylegan`), faces become 48x48 grayscale (:mod:`fergan.data`), those become
expression probabilities (:mod:`fergan.classify`), and the probabilities become a report (:mod:`fergan.reports`).
:mod:`fergan.workflows` joins the four over files and is the only package that knows run folders and the command line.

>>> import fergan
>>> faces = fergan.load_generator(device="cpu").generate(range(8))
>>> fergan.load_classifier(device="cpu").predict(fergan.prepare_faces(faces)).shape
(8, 7)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classify.classifier import Classifier, load_classifier
    from .data.faces import prepare_faces
    from .reports.notebook import show
    from .runtime.errors import DataError, UsageError
    from .stylegan.checkpoints import save_generator
    from .stylegan.generator import Generator, load_generator

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "classify.classifier",
    "DataError": "runtime.errors",
    "Generator": "stylegan.generator",
    "UsageError": "runtime.errors",
    "load_classifier": "classify.classifier",
    "load_generator": "stylegan.generator",
    "prepare_faces": "data.faces",
    "save_generator": "stylegan.checkpoints",
    "show": "reports.notebook",
}

__all__ = [  # noqa: F822 - by __getattr__
    "Classifier",
    "DataError",
    "Generator",
    "UsageError",
    "load_classifier",
    "load_generator",
    "prepare_faces",
    "save_generator",
    "show",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first used (PEP 562): torch and Keras take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
