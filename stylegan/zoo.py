"""Networks by name: those that come with fergan, and published ones with the place and licence of each.

A published one is downloaded into the user's cache when it is first asked for by name, after its licence notice;
:mod:`fergan.runtime.downloads` says how it stays the same file.

Sources: the READMEs of NVlabs/stylegan2, NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from ..runtime.errors import UsageError
from ..runtime.published import Shelf

WEIGHTS = Path(__file__).with_name("weights")
DEFAULT = "stylegan2-faces-64-wide"
"""The bundled generator that draws where none is named."""
DEFAULT_BY_CLASS = "dcgan-fer2013-48-cond"
"""The one that draws where a class is named and no generator."""


def chosen_network(network: str | None, class_index: int | str | None) -> str | None:
    """The name of the generator that draws; None for :data:`DEFAULT`."""
    return DEFAULT_BY_CLASS if network is None and class_index is not None else network


_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How networks begin: as pickles of protocol 2 to 5."""

_NC = "Nvidia Source Code License-NC: non-commercial, for research or evaluation only"
_ADA = "NVIDIA Source Code License: non-commercial, for research or evaluation only"


def bundled_generators() -> dict[str, Path]:
    """The generators that come with fergan by name, the default first."""
    files = sorted(WEIGHTS.glob("*.safetensors"), key=lambda file: (file.stem != DEFAULT, file.stem))
    return {file.stem: file for file in files}


@dataclass(frozen=True)
class Published:
    """A network that somebody has published.

    Attributes:
        name: what fergan calls it.
        url: of the file.
        resolution: pixels of an edge.
        about: what it draws and how it was trained.
        origin: the repository that it belongs to.
        licence: of the weights, as their publisher states it.
        megabytes: size of the file in 10**6 bytes, about; None where nobody says.
        classes: 0 for an unconditional network.
    """

    name: str
    url: str
    resolution: int
    about: str
    origin: str
    licence: str
    megabytes: int | None = None
    classes: int = 0

    @property
    def file(self) -> str:
        """Its name in the cache."""
        return f"{self.name}.pkl"


def _sg3(name: str, file: str, resolution: int, about: str, megabytes: int | None = None) -> Published:
    base = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"
    return Published(name, f"{base}{file}.pkl", resolution, about, "NVlabs/stylegan3", _ADA, megabytes)


def _ada(
    name: str, file: str, resolution: int, about: str, megabytes: int | None = None, classes: int = 0
) -> Published:
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
    origin = "NVlabs/stylegan2-ada-pytorch"
    return Published(name, f"{base}{file}.pkl", resolution, about, origin, _ADA, megabytes, classes)


def _tf2(name: str, file: str, resolution: int, about: str, megabytes: int | None = None) -> Published:
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
    return Published(name, f"{base}{file}.pkl", resolution, about, "NVlabs/stylegan2", _NC, megabytes)


_TRANSFER = "transfer-learning-source-nets/"

ZOO: dict[str, Published] = {
    entry.name: entry
    for entry in (
        _sg3("ffhq-1024", "stylegan2-ffhq-1024x1024", 1024, "FFHQ, aligned faces", 381),
        _sg3("ffhq-512", "stylegan2-ffhq-512x512", 512, "FFHQ, aligned faces"),
        _sg3("ffhq-256", "stylegan2-ffhq-256x256", 256, "FFHQ, aligned faces"),
        _sg3("ffhqu-1024", "stylegan2-ffhqu-1024x1024", 1024, "FFHQ-U, unaligned faces", 381),
        _sg3("ffhqu-256", "stylegan2-ffhqu-256x256", 256, "FFHQ-U, unaligned faces"),
        _sg3("metfaces-1024", "stylegan2-metfaces-1024x1024", 1024, "MetFaces, faces in works of art", 381),
        _sg3("metfacesu-1024", "stylegan2-metfacesu-1024x1024", 1024, "MetFaces-U, unaligned", 381),
        _sg3("celebahq-256", "stylegan2-celebahq-256x256", 256, "CelebA-HQ, aligned faces"),
        _sg3("afhqv2-512", "stylegan2-afhqv2-512x512", 512, "AFHQv2, animal faces"),
        _ada("ffhq", "ffhq", 1024, "FFHQ, the original config-f converted to PyTorch", 381),
        _ada("metfaces", "metfaces", 1024, "MetFaces, transfer learning from FFHQ with ADA", 381),
        _ada("afhqcat", "afhqcat", 512, "AFHQ Cat, from scratch with ADA"),
        _ada("afhqdog", "afhqdog", 512, "AFHQ Dog, from scratch with ADA"),
        _ada("afhqwild", "afhqwild", 512, "AFHQ Wild, from scratch with ADA"),
        _ada("brecahad", "brecahad", 512, "BreCaHAD, histology, from scratch with ADA"),
        _ada("cifar10", "cifar10", 32, "CIFAR-10, class-conditional", classes=10),
        _ada("ffhq-res256", f"{_TRANSFER}ffhq-res256-mirror-paper256-noaug", 256, "FFHQ, config paper256", 296),
        _ada("ffhq-res512", f"{_TRANSFER}ffhq-res512-mirror-stylegan2-noaug", 512, "FFHQ, config stylegan2", 364),
        _ada("ffhq-res1024", f"{_TRANSFER}ffhq-res1024-mirror-stylegan2-noaug", 1024, "FFHQ, config stylegan2", 381),
        _ada(
            "celebahq-res256",
            f"{_TRANSFER}celebahq-res256-mirror-paper256-kimg100000-ada-target0.5",
            256,
            "CelebA-HQ, config paper256 with ADA",
            296,
        ),
        _tf2("ffhq-config-f", "stylegan2-ffhq-config-f", 1024, "FFHQ, the paper's best network (TensorFlow)", 381),
        _tf2("ffhq-config-e", "stylegan2-ffhq-config-e", 1024, "FFHQ, the paper's smaller network (TensorFlow)", 318),
    )
}
"""The published networks that fergan knows by name, those of faces first."""


_SHELF = Shelf(ZOO, "network", {".pkl": _PICKLES}, max_size=8 * 2**30)

cached, fetch = _SHELF.cached, _SHELF.fetch


def find_checkpoint(source: str | Path | None) -> Path:
    """The file that :func:`fergan.stylegan.load_generator` opens; a published one is downloaded when first used.

    Args:
        source: a file, the name of a bundled or published generator, or None for the default.

    Raises:
        CheckpointError: no generator is bundled.
        UsageError: no generator has this name.
    """
    bundled = bundled_generators()
    if source is None:
        if not bundled:
            from .checkpoints import CheckpointError  # needs torch

            raise CheckpointError("no generator is bundled with this installation; name a checkpoint file")
        return next(iter(bundled.values()))
    if isinstance(source, str) and source in bundled:
        return bundled[source]
    path = Path(source)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    if str(source) in ZOO:
        return fetch(str(source))
    names = ", ".join(bundled) or "none"
    close = difflib.get_close_matches(str(source), [*bundled, *ZOO], n=3)
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise UsageError(
        f"no file and no generator is called {str(source)!r}{meant}; bundled are: {names}; "
        "'fergan models' lists the published ones too"
    )
