"""Pictures as the numbers by which two sets of them are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...classify.bundled import YARDSTICK
from ...runtime.errors import DataError, UsageError
from ...stylegan.drawing import Drawing
from ..progress import OnProgress, no_progress

if TYPE_CHECKING:
    import torch

FEATURES = ("fer", "efficientnet-lite0", "inception", "dinov2", "clip")
"""Kinds of features by name; the first two need no download."""

PIXEL_SIDE = 32
"""Side to which pictures are shrunk before their pixels are compared."""

_BLOCK = 64
_INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
# by our name: torch-fidelity's name of the network, and the layer
_FIDELITY = {
    "inception": ("inception-v3-compat", "2048"),
    "dinov2": ("dinov2-vit-b-14", "dinov2"),
    "clip": ("clip-vit-b-32", "clip"),
}


@dataclass(frozen=True)
class MetricsOptions(Drawing):
    """The options of ``fergan metrics``.

    Attributes:
        data: folder, zip or FER2013 CSV (its Training rows) of the real pictures.
        network: the generator, as for ``generate``; None for the best bundled one.
        images: judge the pictures of this folder, zip or CSV in place of a generator's.
        held_out: real pictures that the generator never saw, for the gap; of a CSV, the PublicTest rows.
        n: pictures a side in each comparison; None = half of the data, at most ``metrics.DEFAULT_N``.
        repeats: comparisons, each with new fakes and another choice of real pictures.
        seed: the first of the generator's seeds, and of the choice of pictures.
        class_index: of a conditional generator; None draws classes as often as the data have them.
        features: kinds of features by name, joined by commas: see ``FEATURES``.
        model: the classifier of the ``fer`` features.
        crop: of the ``fer`` features, see :func:`fergan.data.faces.prepare_faces`.
        by_class: compare class by class too; only for conditional generators.
        neighbours: where to write the sheet of nearest training images; None = not looked for.
    """

    data: str
    images: str | None = None
    held_out: str | None = None
    n: int | None = None
    repeats: int = 5
    seed: int = 0
    features: str = "fer"
    model: str = YARDSTICK
    crop: str = "none"
    by_class: bool = False
    neighbours: str | None = None


@dataclass(frozen=True)
class FeatureSpace:
    """A way to turn pictures into numbers.

    Attributes:
        name: one of ``FEATURES``, or ``pixels``.
        about: what decides the numbers, as plain JSON values.
        compute: a list of uint8 [H, W, 1 or 3] -> [N, D].
    """

    name: str
    about: dict[str, Any]
    compute: Callable[[Sequence[np.ndarray]], np.ndarray]


def fer_features(model: str = YARDSTICK, crop: str = "none", device: str = "auto") -> FeatureSpace:
    """The inputs of a facial-expression classifier's head: float32 [N, D]. Needs no download.

    Args:
        model: a ``.keras`` file or the name of a bundled classifier.
        crop: as for :func:`fergan.data.faces.prepare_faces`.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    from ...classify.classifier import load_classifier

    classifier = load_classifier(model, device=device)
    preparation = classifier.preparation(crop)
    about = {"name": "fer", "model": classifier.name, "sha256": classifier.sha256, **preparation.as_dict()}
    return FeatureSpace("fer", about, lambda pictures: classifier.features(preparation.prepare(pictures)))


def efficientnet_features(device: str = "auto") -> FeatureSpace:
    """The 1280 pooled features of EfficientNet-Lite0, trained on ImageNet; float32. Needs no download.

    Pictures are enlarged to 224 pixels; gray ones are repeated.

    Raises:
        DataError: the package with the weights is not installed, or is another one.
    """
    import torch
    import torch.nn.functional as F

    from ...classify.keras_files.keras3 import KerasFile
    from ...classify.networks.efficientnet_lite import efficientnet_lite0_file, imagenet_features
    from ...classify.saving import keras_bytes
    from ...classify.translate.graph import translate
    from ...runtime.devices import choose_device

    chosen = choose_device(device)
    with KerasFile(keras_bytes(imagenet_features())) as file:
        network = translate(file, str(chosen))

    def compute(pictures: Sequence[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            batch = _rgb_batch(pictures).to(chosen).float()
            sized = F.interpolate(batch, (224, 224), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
            return network.outputs(sized.permute(0, 2, 3, 1)).cpu().numpy()

    path = efficientnet_lite0_file()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"name": "efficientnet-lite0", "model": path.name, "sha256": digest, "size": 224, "filter": "bicubic"}
    return FeatureSpace("efficientnet-lite0", about, compute)


def identity_features(device: str = "auto") -> FeatureSpace:
    """Features that tell how far a face was moved: EfficientNet-Lite0's where its weights are there, else fernet's."""
    try:
        return efficientnet_features(device)
    except DataError:
        return fer_features(device=device)


def fidelity_features(name: str, device: str = "auto") -> FeatureSpace:
    """Features of a large network by way of torch-fidelity, float32; gray pictures are repeated.

    Args:
        name: ``inception``, the 2048 pooled features of Inception-2015-12-05, as in published FIDs; ``dinov2``, the 768
            of ViT-B/14; ``clip``, the 512 of ViT-B/32. The networks resize pictures themselves.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: torch-fidelity is not installed, or its weights are not here and cannot be downloaded.
    """
    import torch

    from ...runtime.devices import choose_device

    instead = "take --features fer or efficientnet-lite0"
    try:
        import torch_fidelity
        from torch_fidelity.utils import create_feature_extractor
    except ImportError:
        raise UsageError(
            f"{name} features need torch-fidelity; run: pip install 'fergan[metrics]', or {instead}"
        ) from None
    network_name, layer = _FIDELITY[name]
    try:
        if name == "inception":  # read as plain tensors first, since torch-fidelity itself would run what the file says
            torch.hub.load_state_dict_from_url(_INCEPTION, check_hash=True, weights_only=True, progress=False)
        network = create_feature_extractor(network_name, [layer], cuda=False, verbose=False)
    except Exception as error:  # no network, no space, a damaged file: urllib, torch and pickle each have their own
        where = f"download {_INCEPTION} into {torch.hub.get_dir()}/checkpoints, " if name == "inception" else ""
        raise UsageError(f"the weights of {name} cannot be fetched ({error}); {where}or {instead}") from error
    chosen = choose_device(device)
    network = network.to(chosen)

    def compute(pictures: Sequence[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return network(_rgb_batch(pictures).to(chosen))[0].float().cpu().numpy()

    about = {"name": name, "model": network_name, "torch_fidelity": torch_fidelity.__version__}
    return FeatureSpace(name, about, compute)


def feature_spaces(options: MetricsOptions) -> list[FeatureSpace]:
    """The kinds of features that are asked for, in that order.

    Raises:
        UsageError: a name is unknown, or what it needs is not installed.
    """
    wanted = list(dict.fromkeys(name.strip() for name in options.features.split(",")))
    unknown = [name for name in wanted if name not in FEATURES]
    if unknown:
        raise UsageError(f"--features {options.features}: {unknown[0]!r} is not one of {', '.join(FEATURES)}")
    made: dict[str, FeatureSpace] = {}
    for name in sorted(wanted, key=FEATURES.index, reverse=True):  # first those that may not be there
        if name == "fer":
            made[name] = fer_features(options.model, options.crop, options.device)
        else:
            device = options.device
            made[name] = efficientnet_features(device) if name == FEATURES[1] else fidelity_features(name, device)
    return [made[name] for name in wanted]


def _rgb_batch(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 [N, 3, H, W] of pictures of one size."""
    import torch

    batch = np.stack([np.broadcast_to(picture, (*picture.shape[:2], 3)) for picture in pictures])
    return torch.from_numpy(batch).permute(0, 3, 1, 2)


def pixel_features() -> FeatureSpace:
    """The pixels at 32x32, uint8 [N, 32 * 32 * C]."""
    about = {"name": "pixels", "size": PIXEL_SIDE, "filter": "Pillow bicubic"}
    return FeatureSpace("pixels", about, lambda pictures: np.stack([_small(picture) for picture in pictures]))


def compute_features(
    pictures: Iterable[np.ndarray],
    count: int,
    spaces: Sequence[FeatureSpace],
    mirrored: Sequence[int] = (),
    on_progress: OnProgress = no_progress,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features of pictures that come one after another; only 64 of them are held at a time.

    Args:
        pictures: uint8 [H, W, C] each.
        mirrored: places of those whose mirror image is wanted too.

    Returns:
        by the name of a space, [N, D] of all pictures and [M, D] of the mirrored ones, in the order of ``mirrored``.
    """
    wanted = set(mirrored)
    plain: dict[str, list[np.ndarray]] = {space.name: [] for space in spaces}
    turned: dict[str, list[np.ndarray]] = {space.name: [] for space in spaces}
    order: list[int] = []  # of the mirrored pictures, as they come
    waiting: list[np.ndarray] = []
    stream, done = iter(pictures), 0
    while block := list(islice(stream, _BLOCK)):
        chosen = [index for index in range(done, done + len(block)) if index in wanted]
        order += chosen
        waiting += [block[index - done][:, ::-1] for index in chosen]
        done += len(block)
        for space in spaces:
            plain[space.name].append(space.compute(block))
        while len(waiting) >= _BLOCK or (waiting and done == count):
            for space in spaces:
                turned[space.name].append(space.compute(waiting[:_BLOCK]))
            del waiting[:_BLOCK]
        on_progress(done, count)
    place = {index: row for row, index in enumerate(order)}
    rows = [place[index] for index in mirrored]
    return (
        {name: np.concatenate(parts) for name, parts in plain.items()},
        {name: np.concatenate(parts)[rows] for name, parts in turned.items() if parts},
    )


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    return np.asarray(image.resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BICUBIC)).reshape(-1)
