"""Load a face generator, whatever it is, and draw faces with it: seeds in, images out."""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from ..runtime.cache import cache_folder
from ..runtime.devices import choose_device
from ..runtime.errors import DataError, UsageError
from .checkpoints import read_checkpoint
from .networks import StyleGAN2
from .noise import NOISE_MODES
from .synthesis.cpu import CPUSynthesis
from .synthesis.cuda_graphs import GraphedSynthesis
from .zoo import ZOO, find_checkpoint

_MOST_PSI = 1000

MAX_SEED = 2**32 - 1

Classes = int | str | None | Sequence[int | str | None]

T = TypeVar("T")


class Generator:
    """A face generator on a device, ready to draw.

    StyleGAN2 and DCGAN have the same face: a DCGAN's w is z itself, then the class; there is one of it.

    Attributes:
        network: :class:`StyleGAN2` or :class:`DCGANGenerator` in evaluation mode.
        z_dim, w_dim: length of a latent and of a style.
        c_dim: number of classes; 0 = unconditional.
        num_ws: styles that an image takes.
        img_resolution, img_channels: of the images, which are square.
        name: short name, for reports.
        source: the file that it was read from, None where there was none.
        sha256: of that file, in hexadecimal.
        metadata: what the file says about itself: ``licence``, ``default_truncation_psi`` ... where known.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device = "cpu",
        name: str = "generator",
        source: Path | None = None,
        sha256: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        if isinstance(network, StyleGAN2):
            on_cpu, synthesis = self.device.type == "cpu", network.synthesis
            self._synthesis: CPUSynthesis | GraphedSynthesis
            self._synthesis = CPUSynthesis(synthesis) if on_cpu else GraphedSynthesis(synthesis)
        config: Any = network.config
        self.z_dim: int = config.z_dim
        self.c_dim: int = getattr(config, "c_dim", 0)
        self.w_dim: int = getattr(config, "w_dim", config.z_dim)
        self.num_ws: int = getattr(config, "num_ws", 1)
        self.img_resolution: int = config.img_resolution
        self.img_channels: int = config.img_channels
        self.name, self.source, self.sha256 = name, source, sha256
        self.metadata = dict(metadata or {})

    def __repr__(self) -> str:
        return f"<Generator {self.name}: {self.img_resolution} px, {self.img_channels} channels, on {self.device}>"

    @torch.inference_mode()
    def mapping(
        self,
        z: torch.Tensor | np.ndarray,
        c: torch.Tensor | np.ndarray | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Latents to styles.

        Args:
            z: [N, z_dim] of any float type.
            c: [N, c_dim], one-hot or mixtures; needed if and only if ``c_dim`` is not 0.
            truncation_psi: pulls w towards its average (below 1: more typical faces, fewer kinds of them); a DCGAN's z
                towards 0.
            truncation_cutoff: only for so many of the first styles; None = all.

        Returns:
            float32 [N, num_ws, w_dim] on the generator's device.
        """
        truncation_psi = _checked_psi(truncation_psi)
        latents = torch.as_tensor(z).to(self.device, torch.float32)
        classes = None if c is None else torch.as_tensor(c).to(self.device, torch.float32)
        if latents.ndim != 2 or latents.shape[1] != self.z_dim:
            raise ValueError(f"z has shape {tuple(latents.shape)}, where [N, {self.z_dim}] is needed")
        if self.c_dim and (classes is None or classes.shape != (len(latents), self.c_dim)):
            raise ValueError(f"c of shape [N, {self.c_dim}] is needed")
        if isinstance(self.network, StyleGAN2):
            return self.network.mapping(latents, classes, truncation_psi, truncation_cutoff)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        latents = latents * (truncation_psi if cutoff > 0 else 1.0)
        return (latents if classes is None else torch.cat([latents, classes], dim=1)).unsqueeze(1)

    @torch.inference_mode()
    def synthesis(
        self,
        ws: torch.Tensor | np.ndarray,
        noise_mode: str = "const",
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Styles to images.

        Args:
            ws: [N, num_ws, w_dim] of any float type.
            noise_mode: ``const``, the network's own noise maps; ``random``; or ``none``. A DCGAN has no noise.
            noise_generators: for ``random``, one a sample; None draws from torch's global generator.

        Returns:
            float32 [N, C, H, W], -1 (black) to 1 (white) and a little beyond, on the generator's device.
        """
        styles = torch.as_tensor(ws).to(self.device, torch.float32)
        if styles.ndim != 3 or styles.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws has shape {tuple(styles.shape)}, where [N, {self.num_ws}, {self.w_dim}] is needed")
        _check_noise_mode(noise_mode)
        with _reproducible():
            if isinstance(self.network, StyleGAN2):
                return self._synthesis(styles, noise_mode, noise_generators)
            return self.network(styles[:, 0])

    def differentiable(self, ws: torch.Tensor) -> torch.Tensor:
        """Styles to images with gradients, by the network as it stands; slower than :meth:`synthesis`.

        Args:
            ws: float32 [N, num_ws, w_dim] on the generator's device.

        Returns:
            float32 [N, C, H, W], as from :meth:`synthesis` but for rounding.
        """
        images: torch.Tensor
        if isinstance(self.network, StyleGAN2):
            images = self.network.synthesis(ws, "const")
        else:
            images = self.network(ws[:, 0])
        return images

    @property
    def batch_size(self) -> int:
        """Faces that the network sees at a time.

        Constant for a generator, because on a GPU a face's bytes may depend on it. A CPU is fastest with one.
        """
        if self.device.type == "cpu":
            return 1
        return max(1, min(64, 2**22 // self.img_resolution**2))  # 4 at 1024 px, 64 from 256 px down

    def generate(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
        class_index: Classes = None,
    ) -> np.ndarray:
        """Draw the faces of ``seeds`` into one array, uint8 [N, H, W, C]; :meth:`faces` takes the same arguments."""
        seeds = list(seeds)
        images = np.empty((len(seeds), self.img_resolution, self.img_resolution, self.img_channels), np.uint8)
        for image, face in zip(
            images, self.faces(seeds, truncation_psi, truncation_cutoff, noise_mode, class_index), strict=True
        ):
            image[:] = face
        return images

    def faces(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
        class_index: Classes = None,
    ) -> Iterator[np.ndarray]:
        """Draw one face a seed, by NVIDIA's convention: z = ``numpy.random.RandomState(seed).randn(1, z_dim)``.

        A face depends on its seed (and the settings) alone: on one machine its bytes are the same whatever seeds are
        drawn with it. Pass all seeds at once: the network sees them :attr:`batch_size` at a time, a last incomplete
        batch padded, and only one batch of faces is held in memory.

        Args:
            seeds: integers 0 .. 2**32 - 1.
            truncation_psi: as in :meth:`mapping`.
            truncation_cutoff: as in :meth:`mapping`.
            noise_mode: as in :meth:`synthesis`; ``random`` is drawn from the face's seed.
            class_index: 0 .. c_dim - 1 or a name, for a conditional generator; or a list, one a seed.

        Yields:
            uint8 [H, W, C], rounded as the published programs do: (x * 127.5 + 128), clamped, truncated.

        Raises:
            UsageError: the class or the noise mode is not what the generator takes (at the call), or a seed or psi is
                not (when its batch is drawn).
            DataError: the network draws NaN or infinity.
        """
        drawn, noise_seeds = itertools.tee(seeds)
        styles = self.each_style(drawn, truncation_psi, truncation_cutoff, class_index)
        return self.draw(styles, noise_mode, noise_seeds)

    def styles(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        class_index: Classes = None,
    ) -> np.ndarray:
        """The truncated styles of seeds, float32 [N, num_ws, w_dim], of which :meth:`draw` makes the same faces."""
        styles = list(self.each_style(seeds, truncation_psi, truncation_cutoff, class_index))
        return np.stack(styles) if styles else np.empty((0, self.num_ws, self.w_dim), np.float32)

    def each_style(
        self,
        seeds: Iterable[int],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        class_index: Classes = None,
    ) -> Iterator[np.ndarray]:
        """The styles that :meth:`styles` returns, float32 [num_ws, w_dim] each, made as they are taken."""
        if isinstance(class_index, Sequence | np.ndarray) and not isinstance(class_index, str):
            seeds = list(seeds)
            if len(seeds) != len(class_index):
                raise UsageError(
                    f"{len(seeds)} seeds and {len(class_index)} classes: give a class for each seed, or one"
                )
            pairs = zip(seeds, [self.find_class(one) for one in class_index], strict=True)
        else:
            pairs = zip(seeds, itertools.repeat(self.find_class(class_index)))  # noqa: B905 - one is endless

        def mapped() -> Iterator[np.ndarray]:
            for count, batch in _padded(pairs, self.batch_size):
                z = np.concatenate([np.random.RandomState(_seed(seed)).randn(1, self.z_dim) for seed, _ in batch])
                classes = [index for _, index in batch if index is not None]
                c = np.eye(self.c_dim)[classes] if classes else None
                yield from self.mapping(z, c, truncation_psi, truncation_cutoff)[:count].cpu().numpy()

        return mapped()

    def draw(
        self, styles: Iterable[np.ndarray], noise_mode: str = "const", noise_seeds: Iterable[int] | None = None
    ) -> Iterator[np.ndarray]:
        """Draw one face a style, :attr:`batch_size` at a time.

        Args:
            styles: [num_ws, w_dim] each, of any float type.
            noise_mode: as in :meth:`synthesis`.
            noise_seeds: for ``random``, one a face; None counts from 0.

        Yields:
            uint8 [H, W, C], rounded as by :meth:`faces`.

        Raises:
            UsageError: the noise mode is unknown.
        """
        _check_noise_mode(noise_mode)
        pairs = zip(styles, itertools.count() if noise_seeds is None else noise_seeds)  # noqa: B905 - one is endless

        def drawn() -> Iterator[np.ndarray]:
            for count, batch in _padded(pairs, self.batch_size):
                ws = np.stack([style for style, _ in batch])
                yield from self._images(ws, noise_mode, [seed for _, seed in batch])[:count]

        return drawn()

    def _images(self, ws: torch.Tensor | np.ndarray, noise_mode: str, noise_seeds: Sequence[int]) -> np.ndarray:
        noise = [torch.Generator().manual_seed(seed) for seed in noise_seeds] if noise_mode == "random" else None
        drawn = self.synthesis(ws, noise_mode, noise)
        if not torch.isfinite(drawn).all():  # would become black pictures
            raise DataError(
                f"{self.name}: draws NaN or infinity; its weights are damaged, its training diverged, or psi is far "
                "from 1"
            )
        return to_uint8(drawn)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes where the file tells them, else their numbers."""
        names = self.metadata.get("classes")
        if isinstance(names, list) and len(names) == self.c_dim:
            return tuple(str(name) for name in names)
        return tuple(str(index) for index in range(self.c_dim))

    def find_class(self, wanted: int | str | None) -> int | None:
        """The index of a class that is given by its index or by its name in any case.

        Raises:
            UsageError: the generator does not draw it; or None was given and the generator needs a class.
        """
        if self.c_dim == 0:
            if wanted is not None:
                raise UsageError(f"the generator {self.name} has no classes, so leave out the class {wanted}")
            return None
        names = self.class_names
        in_lower_case = [name.strip().lower() for name in names]
        if isinstance(wanted, str) and wanted.strip().lower() in in_lower_case:
            return in_lower_case.index(wanted.strip().lower())
        if wanted is not None and re.fullmatch("[0-9]{1,9}", str(wanted)) and int(wanted) < self.c_dim:
            return int(wanted)
        wrong = "a class is needed" if wanted is None else f"there is no class {wanted}"
        named = f" ({', '.join(names)})" if "classes" in self.metadata else ""
        raise UsageError(f"{wrong}: the generator {self.name} draws classes 0 to {self.c_dim - 1}{named}; choose one")


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """float [N, C, H, W] in -1..1 -> uint8 [N, H, W, C]: (x * 127.5 + 128), clamped to 0..255, truncated."""
    scaled = (images.permute(0, 2, 3, 1) * 127.5 + 128).clamp(0, 255)
    return scaled.to(torch.uint8).cpu().numpy()


def load_generator(source: str | Path | None = None, device: str = "auto") -> Generator:
    """Open a generator.

    Args:
        source: a checkpoint file of any format that :func:`read_checkpoint` knows, the name of a bundled generator (see
            :func:`bundled_generators`), or that of a published one (see :mod:`.zoo`), which is downloaded when it is
            first used; None takes the best bundled one.
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``: the first GPU if there is one.

    Raises:
        CheckpointError: the file is missing or cannot be used.
        UsageError: no bundled generator has this name, or the device does not exist.

    >>> faces = load_generator().generate(range(8))  # doctest: +SKIP
    """
    chosen = choose_device(device)
    path = find_checkpoint(source)
    checkpoint = read_checkpoint(path)
    metadata = dict(checkpoint.metadata)
    if path.parent == cache_folder() and path.stem in ZOO:
        metadata.setdefault("licence", ZOO[path.stem].licence)
    return Generator(
        checkpoint.generator,
        chosen,
        name=path.stem,
        source=path,
        sha256=checkpoint.sha256,
        metadata=metadata,
    )


def _seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed {seed!r} is not an integer from 0 to {MAX_SEED}")
    return int(seed)


def _check_noise_mode(noise_mode: str) -> None:
    if noise_mode not in NOISE_MODES:
        raise UsageError(f"noise mode {noise_mode!r} is none of {', '.join(NOISE_MODES)}")


def _padded(items: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """Lists of ``size`` items, the last one filled up with its last item; each with the number of items it had."""
    remaining = iter(items)
    while part := list(itertools.islice(remaining, size)):
        yield len(part), part + part[-1:] * (size - len(part))


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    """Have cuDNN choose the same exact float32 algorithms each time."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def default_psi(generator: Generator, wanted: float | None) -> float:
    """The truncation that was asked for, or else the generator's own.

    Raises:
        UsageError: it is not a number, or not finite.
        DataError: the same of the generator's own.
    """
    if wanted is not None:
        return _checked_psi(wanted)
    try:
        return _checked_psi(generator.metadata.get("default_truncation_psi", 1.0))
    except UsageError as error:
        raise DataError(f"{generator.name}: of its own, {error}") from error


def _checked_psi(psi: Any) -> float:
    if isinstance(psi, bool) or not isinstance(psi, Real) or not abs(float(psi)) <= _MOST_PSI:
        raise UsageError(f"the truncation psi is {str(psi)[:40]}; give a number from -{_MOST_PSI} to {_MOST_PSI}")
    return float(psi)
