"""Pictures as the numbers by which two sets of them are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from ...data.faces import Preparation, prepare_faces
from ...runtime.devices import choose_device
from ...runtime.errors import UsageError
from ..progress import OnProgress, no_progress

PIXEL_SIDE = 32
"""Side to which pictures are shrunk before their pixels are compared."""

_BLOCK = 64
_INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


@dataclass(frozen=True)
class FeatureSpace:
    """A way to turn pictures into numbers.

    Attributes:
        name: ``fer``, ``inception`` or ``pixels``.
        about: what decides the numbers, as plain JSON values.
        compute: a list of uint8 [H, W, 1 or 3] -> [N, D].
    """

    name: str
    about: dict[str, Any]
    compute: Callable[[Sequence[np.ndarray]], np.ndarray]


def fer_features(model: str | None = None, crop: str = "none", device: str = "auto") -> FeatureSpace:
    """What a facial-expression classifier's head sees: float32 [N, D]. Needs no download.

    Args:
        model: a ``.keras`` file or the name of a bundled classifier; None for fernet.
        crop: as for :func:`prepare_faces`.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    from ...classify.classifier import load_classifier

    preparation = Preparation(crop)
    classifier = load_classifier(model, device=device)
    about = {"name": "fer", "model": classifier.name, "sha256": classifier.sha256, **preparation.as_dict()}
    return FeatureSpace("fer", about, lambda pictures: classifier.features(prepare_faces(pictures, crop)))


def inception_features(device: str = "auto") -> FeatureSpace:
    """The 2048 pooled features of Inception-2015-12-05, as in published FIDs, by way of torch-fidelity; float32.

    The network enlarges pictures to 299 pixels itself (bilinear, as its TensorFlow original); gray ones are repeated.

    Raises:
        UsageError: torch-fidelity is not installed, or its weights are not here and cannot be downloaded.
    """
    import torch

    try:
        import torch_fidelity
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise UsageError(
            "Inception features need torch-fidelity; run: pip install 'fergan[metrics]', or take --features fer"
        ) from None
    try:  # read as plain tensors first, since torch-fidelity itself would run what the file says
        torch.hub.load_state_dict_from_url(_INCEPTION, check_hash=True, weights_only=True, progress=False)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], verbose=False)
    except Exception as error:  # no network, no space, a damaged file: urllib, torch and pickle each have their own
        raise UsageError(
            f"the Inception weights cannot be had ({error}); download {_INCEPTION} into "
            f"{torch.hub.get_dir()}/checkpoints, or take --features fer"
        ) from error
    chosen = choose_device(device)
    network = network.to(chosen)

    def compute(pictures: Sequence[np.ndarray]) -> np.ndarray:
        batch = np.stack([np.broadcast_to(picture, (*picture.shape[:2], 3)) for picture in pictures])
        with torch.inference_mode():
            return network(torch.from_numpy(batch).permute(0, 3, 1, 2).to(chosen))[0].float().cpu().numpy()

    weights = _INCEPTION.rpartition("/")[2]
    about = {"name": "inception", "model": "inception-v3-compat", "weights": weights}
    return FeatureSpace("inception", {**about, "torch_fidelity": torch_fidelity.__version__}, compute)


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
        count: how many they are.
        spaces: which features.
        mirrored: places of those whose mirror image is wanted too.
        on_progress: called after each block.

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
