"""A checkpoint that was read, whatever its format: a configuration, named tensors, and networks built of them."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...runtime.files import printable
from ..networks import Discriminator, StyleGAN2
from ..ops import setup_filter
from .errors import CheckpointError


class Stored(Protocol):
    """A tensor that still lies in the file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int: ...

    def numpy(self) -> np.ndarray:
        """A C-ordered copy, float32 (or integers, where the file has integers)."""
        ...


@dataclass(eq=False)
class Derived:
    """A stored tensor in another layout: ``change`` is applied when it is read. ``shape`` is the one after."""

    source: Stored
    shape: tuple[int, ...]
    change: Callable[[np.ndarray], np.ndarray]

    @property
    def nbytes(self) -> int:
        return self.source.nbytes

    def numpy(self) -> np.ndarray:
        return np.ascontiguousarray(self.change(self.source.numpy())).reshape(self.shape)


@dataclass(eq=False)
class StoredNetwork:
    """One network of a checkpoint: its configuration, and its tensors by the names of the module's state dict.

    Raises:
        CheckpointError: names or shapes are not those that the configuration asks for.
    """

    config: Any
    tensors: Mapping[str, Stored]
    factory: Callable[[Any], nn.Module]

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> dict[str, torch.Tensor]:
        """Compare names and shapes with what the configuration asks for; the network's state dict on the meta device.

        Raises:
            CheckpointError: a tensor is missing, superfluous or of another shape.
        """
        expected = skeleton(self.factory, self.config).state_dict()
        for name in self.tensors:
            if name not in expected:
                raise CheckpointError(f"the tensor {name[:80]!r} belongs to no network of this kind")
        for name, tensor in expected.items():
            if name not in self.tensors:
                if name.endswith(("resample_filter", "noise_const", "w_avg")):
                    continue  # can be made up for
                raise CheckpointError(f"the tensor {name!r} is missing; the file is incomplete, so get a fresh copy")
            found = tuple(self.tensors[name].shape)
            if found != tuple(tensor.shape):
                raise CheckpointError(f"the tensor {name!r} has shape {found} where {tuple(tensor.shape)} is needed")
        return expected

    def build(self, file_size: int) -> nn.Module:
        """The network in evaluation mode, float32, on the CPU.

        Args:
            file_size: the tensors may not add up to more bytes than the file has.
        """
        expected = self.check()
        if sum(tensor.nbytes for tensor in self.tensors.values()) > file_size:
            raise CheckpointError("its tensors overlap, so that they add up to more than the file; get a fresh copy")
        state: dict[str, torch.Tensor] = {}
        for name, wanted in expected.items():
            if name in self.tensors:
                tensor = torch.from_numpy(self.tensors[name].numpy()).to(wanted.dtype)
            elif name.endswith("resample_filter"):
                tensor = setup_filter(self.config.resample_filter)
            elif name.endswith("noise_const"):
                # Programs that do not store their noise maps draw them anew each time they start; ours stay.
                noise = np.random.RandomState(zlib.crc32(name.encode())).randn(*wanted.shape)
                tensor = torch.from_numpy(noise.astype(np.float32))
            else:
                tensor = torch.zeros(wanted.shape)
            if not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"the tensor {name!r} holds NaN or infinity; its training had diverged")
            state[name] = tensor
        network = skeleton(self.factory, self.config)
        network.load_state_dict(state, assign=True)
        network.eval()
        if isinstance(network, StyleGAN2) and "mapping.w_avg" not in self.tensors:
            network.mapping.w_avg.copy_(_average_w(network))
        return network


class _NoInitialisation(TorchFunctionMode):
    """Leaves out ``normal_``, which imports a thousand modules the first time that it meets the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def skeleton(factory: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """A network without memory for its weights: it has names and shapes, and takes tensors with ``assign=True``."""
    with torch.device("meta"), _NoInitialisation():
        return factory(config)


def _average_w(network: StyleGAN2) -> torch.Tensor:
    """The mean of 4096 mapped latents, which stands in for a running average that was not kept: [w_dim]."""
    z = torch.from_numpy(np.random.RandomState(0).randn(4096, network.z_dim).astype(np.float32))
    c = torch.eye(network.c_dim)[torch.arange(4096) % network.c_dim] if network.c_dim else None
    with torch.no_grad():
        return network.mapping(z, c)[:, 0].mean(dim=0)


@dataclass(eq=False)
class Networks:
    """The networks that the reader of a format finds in a file.

    Attributes:
        generator: the averaged one (G_ema, Gs, g_ema).
        discriminator: reads it; None where the file has none that fergan knows.
        metadata: what the file says about itself, JSON values only.
        architecture: ``stylegan2`` or ``dcgan``.
    """

    generator: StoredNetwork
    discriminator: Callable[[], StoredNetwork] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    architecture: str = "stylegan2"


@dataclass(eq=False)
class Checkpoint:
    """A checkpoint file that was opened and understood, its networks not yet built.

    Attributes:
        path: the file.
        sha256: of the whole file, in hexadecimal.
        size: of the file, in bytes.
        format: ``fergan``, ``stylegan2-ada``, ``tensorflow`` or ``rosinality``.
        architecture: ``stylegan2`` or ``dcgan``.
        stored: the generator's configuration and tensors; the averaged one (G_ema, Gs, g_ema).
        stored_discriminator: reads the discriminator's; None where the file has none that fergan knows.
        metadata: what the file says about itself, JSON values only.
        licence_notice: what the file or its format says about its use; None where nothing is known.
    """

    path: Path
    sha256: str
    size: int
    format: str
    architecture: str
    stored: StoredNetwork
    stored_discriminator: Callable[[], StoredNetwork] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    licence_notice: str | None = None

    @property
    def config(self) -> Any:
        """:class:`StyleGAN2Config` or :class:`DCGANConfig`."""
        return self.stored.config

    @cached_property
    def generator(self) -> nn.Module:
        """:class:`StyleGAN2` or :class:`DCGANGenerator`, float32 on the CPU, in evaluation mode; built once.

        Raises:
            CheckpointError: the tensors do not make a network.
        """
        with naming(self.path):
            return self.stored.build(self.size)

    @cached_property
    def discriminator(self) -> Discriminator | None:
        """The discriminator, float32 on the CPU, in evaluation mode; None if the file has none. Built once.

        Raises:
            CheckpointError: the tensors do not make a network.
        """
        if self.stored_discriminator is None:
            return None
        with naming(self.path):
            network = self.stored_discriminator().build(self.size)
            assert isinstance(network, Discriminator)
            return network


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name in front of a :class:`CheckpointError`; turn whatever else a bad file provokes into one."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{printable(path)}: {error}") from None
    except Exception as error:  # the readers refuse what they foresee; a bad file may hold what they do not
        what = f"{type(error).__name__}: {printable(error)[:200]}"
        raise CheckpointError(
            f"{printable(path)}: the file is damaged or of an unknown kind ({what}); get a fresh copy of it"
        ) from error
