"""fergan: which facial expressions does a face generator make?

Latents become faces (:mod:`fergan.stylegan`), faces become 48x48 grayscale (:mod:`fergan.data`), those become
expression probabilities (:mod:`fergan.classify`), and the probabilities become a report (:mod:`fergan.reports`).
:mod:`fergan.workflows` joins the four over files and is the only package that knows run folders and the command line.

>>> import fergan
>>> faces = fergan.load_generator(device="cpu").generate(range(8))
>>> fergan.load_classifier(device="cpu").predict(fergan.prepare_faces(faces)).shape
(8, 7)
"""

from typing import TYPE_CHECKING

from .runtime.lazy import lazy_names
from .runtime.version import __version__ as __version__

if TYPE_CHECKING:
    from .classify.classifier import Classifier as Classifier
    from .classify.classifier import load_classifier as load_classifier
    from .data.faces import prepare_faces as prepare_faces
    from .reports.notebook import show as show
    from .runtime.errors import DataError as DataError
    from .runtime.errors import UsageError as UsageError
    from .stylegan.checkpoints import save_generator as save_generator
    from .stylegan.generator import Generator as Generator
    from .stylegan.generator import load_generator as load_generator

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Classifier": "classify.classifier",
        "DataError": "runtime.errors",
        "Generator": "stylegan.generator",
        "UsageError": "runtime.errors",
        "load_classifier": "classify.classifier",
        "load_generator": "stylegan.generator",
        "prepare_faces": "data.faces",
        "save_generator": "stylegan.checkpoints",
        "show": "reports.notebook",
    },
)
