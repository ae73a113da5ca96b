"""Face generators: StyleGAN2 and DCGAN, their checkpoints, and the faces that they draw from seeds.

>>> from fergan import stylegan
>>> generator = stylegan.load_generator(device="cpu")
>>> generator.generate([0, 1]).shape
(2, 64, 64, 3)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoints import Checkpoint, CheckpointError, convert, describe, read_checkpoint, save_generator
    from .generator import Generator, load_generator
    from .zoo import bundled_generators

_HOMES = {
    "Checkpoint": "checkpoints",
    "CheckpointError": "checkpoints",
    "Generator": "generator",
    "bundled_generators": "zoo",
    "convert": "checkpoints",
    "describe": "checkpoints",
    "load_generator": "generator",
    "read_checkpoint": "checkpoints",
    "save_generator": "checkpoints",
}

__all__ = [  # noqa: F822 - by __getattr__
    "Checkpoint",
    "CheckpointError",
    "Generator",
    "bundled_generators",
    "convert",
    "describe",
    "load_generator",
    "read_checkpoint",
    "save_generator",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first used (PEP 562): torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
