"""Face generators: StyleGAN2 and DCGAN, their checkpoints, and the faces that they draw from seeds.

>>> from fergan import stylegan
>>> generator = stylegan.load_generator(device="cpu")
>>> generator.generate([0, 1]).shape
(2, 64, 64, 3)
"""

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoints import Checkpoint as Checkpoint
    from .checkpoints import CheckpointError as CheckpointError
    from .checkpoints import convert as convert
    from .checkpoints import describe as describe
    from .checkpoints import read_checkpoint as read_checkpoint
    from .checkpoints import save_generator as save_generator
    from .generator import Generator as Generator
    from .generator import load_generator as load_generator
    from .zoo import bundled_generators as bundled_generators

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Checkpoint": "checkpoints",
        "CheckpointError": "checkpoints",
        "Generator": "generator",
        "bundled_generators": "zoo",
        "convert": "checkpoints",
        "describe": "checkpoints",
        "load_generator": "generator",
        "read_checkpoint": "checkpoints",
        "save_generator": "checkpoints",
    },
)
