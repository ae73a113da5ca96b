"""Detection of the faces in a picture: three detectors behind one interface, and the square that a classifier is shown.

``haar`` comes with OpenCV 4. ``lbp`` is a third as costly; its cascade comes with scikit-image. ``yunet`` (Wu, Peng and
Yu 2023, doi:10.1007/s11633-023-1423-y) is a small convolutional network that OpenCV runs and its authors maintain; it
finds turned, partly covered and small faces that cascades miss. Its file is not part of any of these packages:
:func:`.yunet.fetch_yunet` gets it once, checked against the SHA-256 that OpenCV's model zoo states.
"""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable
from .cascades import HAAR_ENLARGE, LBP_ENLARGE, Cascade, haar_cascade, lbp_cascade, read_cascade
from .face import FaceDetector
from .yunet import YuNet, fetch_yunet, yunet_path

DETECTORS = ("auto", "yunet", "haar", "lbp")
"""``auto``: yunet where its file is here already, else haar."""

SMALLEST = 0.1
"""Smallest face that is searched for, as a part of the picture's shorter side, unless the caller says otherwise."""


def open_detector(name: str = "auto", smallest: float = SMALLEST) -> FaceDetector:
    """A face detector by name or from a file.

    Args:
        name: one of :data:`DETECTORS`, or a file: ``.xml`` a cascade of OpenCV, ``.onnx`` a YuNet.
        smallest: smallest face searched for, as a part of the picture's shorter side; half of it costs four times as
            much.

    Raises:
        UsageError: an unknown name, a part outside (0, 1], or a package that is missing.
        DataError: the file cannot be read, or ``yunet`` cannot be downloaded.

    Example:
        >>> open_detector("haar").find(np.zeros((240, 320, 3), np.uint8))
        []
    """
    if not 0 < smallest <= 1:
        raise UsageError(f"the smallest face, {smallest:g}, must be a part of the picture's side: above 0, at most 1")
    if name == "auto":
        name = "yunet" if yunet_path().is_file() else "haar"
    if name == "yunet":
        return YuNet(fetch_yunet(), "yunet", smallest)
    if name == "haar":
        return Cascade(haar_cascade(), "haar", HAAR_ENLARGE, smallest)
    if name == "lbp":
        return Cascade(lbp_cascade(), "lbp", LBP_ENLARGE, smallest)
    path = Path(name)
    if path.suffix.lower() not in (".xml", ".onnx"):
        raise UsageError(f"detector {name!r} is not one of {', '.join(DETECTORS)}, nor an .xml or .onnx file")
    if not path.is_file():
        raise DataError(f"{printable(path)}: there is no such file; give a detector's file or name")
    if path.suffix.lower() == ".onnx":
        return YuNet(path, path.name, smallest)
    try:
        return Cascade(read_cascade(path.read_text(encoding="utf-8")), path.name, HAAR_ENLARGE, smallest)
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: is not a cascade that OpenCV can read ({printable(error)})") from error
