"""Published expression networks whose files fergan recognises, with what the files themselves do not say.

A file is recognised by its SHA-256, or by the names and shapes of its layers. Where those are common (an EfficientNet
from torch.onnx.export), its name must be the published one too: an unknown order of labels is never assumed.

Sources, read in 2026-11:

- oarriaga/face_classification: ``src/utils/datasets.py`` (labels), ``src/utils/preprocessor.py`` (-1..1),
  ``src/models/cnn.py`` (layers), ``src/train_emotion_classifier.py`` (64 pixels, enlarged from FER2013's 48).
  SHA-256 of mini_XCEPTION: of the file itself.
- av-savchenko/hsemotion-onnx: ``hsemotion_onnx/facial_emotions.py`` (labels, sizes, ImageNet's mean and deviation, the
  last two outputs of ``_mtl``); av-savchenko/face-emotion-recognition: ``src/convert_pt_to_onnx.py`` (names of input
  and output, logits). EmotiEffLib's ``facial_analysis.py`` agrees. The files themselves could not be reached.
- onnx/models: ``vision/body_analysis/emotion_ferplus/README.md`` (labels, size, logits); the scaling is in the graph.
  The file could not be reached.

face-api.js' expression network is a file of bare weights for TensorFlow.js, which no reader here opens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..data.labels import ALPHABETIC, FER2013, FERPLUS

Shape = tuple[int, ...]

BESIDES = ("valence", "arousal")
"""Outputs that stand beside expressions in some networks, and are not labels."""


class Layers(Protocol):
    """The layers of a network as its file lists them; see :class:`.files.network.Network`."""

    input_name: str
    output_name: str

    @property
    def arrays(self) -> tuple[tuple[str, Shape], ...]: ...

    @property
    def input_shape(self) -> tuple[int | None, ...]: ...

    @property
    def output_shape(self) -> tuple[int | None, ...]: ...


@dataclass(frozen=True)
class KnownJudge:
    """A published network.

    Attributes:
        name: what fergan calls it.
        about: what it is.
        labels: of its outputs, in order; :data:`BESIDES` for what is not an expression.
        input_range: what black and white are to it.
        input_shape: (height, width, channels).
        outputs: ``probabilities`` or ``logits``.
        view: how faces are shown to it: ``48`` for networks that learned from FER2013's 48 pixels, else ``own``.
        licence, origin: of the weights, and the repository that they belong to.
        url: of the file; None where it is not offered by name.
        file: its name.
        megabytes: size of the file in 10**6 bytes, about.
        sha256: of the file, where it is known.
        ends: names of input and output, where they are the publisher's own.
        kernels: shapes of all arrays of four dimensions, in any order; empty for any.
        head: shape that one of the arrays has; None for any.
        by_name: whether the file must have its published name to be recognised by its layers.
    """

    name: str
    about: str
    labels: tuple[str, ...]
    input_range: tuple[float, float] | Literal["imagenet"]
    input_shape: Shape
    outputs: Literal["probabilities", "logits"]
    view: Literal["48", "own"]
    licence: str
    origin: str
    file: str
    url: str | None = None
    megabytes: float | None = None
    sha256: str | None = None
    ends: tuple[str | None, str | None] = (None, None)
    kernels: tuple[Shape, ...] = ()
    head: Shape | None = None
    by_name: bool = False

    def card(self) -> dict[str, Any]:
        """The card that ``NAME.json`` would hold."""
        given = self.input_range
        return {
            "labels": list(self.labels),
            "input_range": given if isinstance(given, str) else list(given),
            "outputs": self.outputs,
            "view": self.view,
            "licence": f"{self.licence} ({self.origin})",
            "recognised": self.name,
        }

    @property
    def remark(self) -> str:
        """One line for whoever uses the file."""
        given = self.input_range
        span = given if isinstance(given, str) else f"{given[0]:g}..{given[1]:g}"
        return (
            f"recognised as {self.name} of {self.origin} ({self.licence}): labels {','.join(self.labels)}; "
            f"input range {span}"
        )

    def fits(self, stem: str, layers: Layers) -> bool:
        """Whether a file called ``stem`` (without its ending) with these layers is this network."""
        if layers.input_shape != self.input_shape or layers.output_shape != (len(self.labels),):
            return False
        if self.by_name and stem != self.file.rpartition(".")[0]:
            return False
        names = (layers.input_name, layers.output_name)
        if any(wanted not in (None, found) for wanted, found in zip(self.ends, names, strict=True)):
            return False
        shapes = [shape for _, shape in layers.arrays]
        if self.head is not None and self.head not in shapes:
            return False
        return not self.kernels or Counter(self.kernels) == Counter(shape for shape in shapes if len(shape) == 4)


def recognise(stem: str, sha256: str, layers: Layers) -> KnownJudge | None:
    """The published network that a file is, or None; ``stem`` is its name without the ending."""
    for judge in KNOWN_JUDGES.values():
        if judge.sha256 == sha256 or judge.fits(stem, layers):
            return judge
    return None


def _xception(stem: tuple[int, int], modules: Iterable[int]) -> tuple[Shape, ...]:
    """Kernels of oarriaga's Xceptions: two convolutions, modules of two separable ones beside a shortcut, head."""
    kernels: list[Shape] = [(3, 3, 1, stem[0]), (3, 3, *stem)]
    before = stem[1]
    for width in modules:
        kernels += [(1, 1, before, width), (3, 3, before, 1), (1, 1, before, width)]
        kernels += [(3, 3, width, 1), (1, 1, width, width)]
        before = width
    return (*kernels, (3, 3, before, 7))


def _oarriaga(name: str, file: str, kernels: tuple[Shape, ...], megabytes: float, **more: Any) -> KnownJudge:
    return KnownJudge(
        name,
        "FER2013, 64 pixels, gray",
        FER2013,
        (-1.0, 1.0),
        (64, 64, 1),
        "probabilities",
        "48",
        "MIT",
        "oarriaga/face_classification",
        file,
        megabytes=megabytes,
        ends=(None, "predictions"),
        kernels=kernels,
        **more,
    )


def _hsemotion(name: str, labels: tuple[str, ...], size: int, features: int) -> KnownJudge:
    base = "https://github.com/HSE-asavchenko/face-emotion-recognition/raw/main/models/affectnet_emotions/onnx/"
    return KnownJudge(
        name,
        f"AffectNet, EfficientNet-{'B0' if '_b0_' in name else 'B2'}, {size} pixels, RGB",
        labels,
        "imagenet",
        (size, size, 3),
        "logits",
        "own",
        "Apache-2.0",
        "av-savchenko/face-emotion-recognition",
        f"{name}.onnx",
        f"{base}{name}.onnx",
        16 if "_b0_" in name else 31,
        ends=("input", "output"),
        head=(len(labels), features),
        by_name=True,
    )


_SEVEN = tuple(sorted(FER2013))
_FACES = "https://github.com/oarriaga/face_classification/raw/master/trained_models/"
_ZOO = "https://github.com/onnx/models/raw/main/validated/vision/body_analysis/emotion_ferplus/model/"

KNOWN_JUDGES: dict[str, KnownJudge] = {
    judge.name: judge
    for judge in (
        _hsemotion("enet_b0_8_best_vgaf", ALPHABETIC, 224, 1280),
        _hsemotion("enet_b0_8_best_afew", ALPHABETIC, 224, 1280),
        _hsemotion("enet_b0_8_va_mtl", (*ALPHABETIC, *BESIDES), 224, 1280),
        _hsemotion("enet_b2_8", ALPHABETIC, 260, 1408),
        _hsemotion("enet_b2_7", _SEVEN, 260, 1408),
        KnownJudge(
            "emotion-ferplus-8",
            "FER+ (Barsoum et al. 2016), VGG13, 64 pixels, gray",
            FERPLUS,
            (0.0, 255.0),
            (64, 64, 1),
            "logits",
            "48",
            "MIT",
            "onnx/models",
            "emotion-ferplus-8.onnx",
            f"{_ZOO}emotion-ferplus-8.onnx",
            35,
            ends=("Input3", "Plus692_Output_0"),
        ),
        _oarriaga(
            "mini_XCEPTION",
            "fer2013_mini_XCEPTION.102-0.66.hdf5",
            _xception((8, 8), (16, 32, 64, 128)),
            0.9,
            url=f"{_FACES}emotion_models/fer2013_mini_XCEPTION.102-0.66.hdf5",
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
        ),
        _oarriaga(
            "big_XCEPTION",
            "fer2013_big_XCEPTION.54-0.66.hdf5",
            _xception((32, 64), (128, 256)),
            2.6,
            url=f"{_FACES}fer2013_big_XCEPTION.54-0.66.hdf5",
        ),
    )
}
"""By name; those that learned from AffectNet's large colour pictures first."""
