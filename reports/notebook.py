"""Faces and numbers in notebooks: what a cell shows of them, as HTML that loads nothing."""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from ..data.images import read_image
from ..runtime.errors import UsageError
from ..runtime.files import write_atomically
from .formatting import percent, plural, printable
from .html.document import open_page
from .html.sprites import as_picture
from .statistics.table import LabelTable

_MOST = 512
_TILE = "display:inline-block;margin:0 6px 8px 0;vertical-align:top;font:12px/1.3 sans-serif;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Shown:
    """Faces beside one another. A notebook shows it; :meth:`save` and :meth:`open` make a page of it."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a page with the faces. Raises DataError where it cannot be written."""
        write_atomically(Path(path), self._page().encode())
        return Path(path)

    def open(self) -> Path:
        """Show the faces in the browser; the path of the page, in the folder for temporary files."""
        return open_page(self._page(), "faces")

    def _page(self) -> str:
        head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Faces</title></head><body>'
        return f"{head}{self.html}</body></html>\n"


def show(
    faces: Any,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    columns: int = 8,
    size: int = 96,
) -> Shown:
    """Faces beside one another with what is said of them, for a notebook.

    Args:
        faces: uint8 [N, H, W, 3], [N, H, W, 1] or [N, H, W] (gray); or a list of such faces, of Pillow images, or of
            paths of pictures.
        labels: N texts; or probabilities [N, K] of ``classes``, of which the most probable is written; or the
            :class:`LabelTable` of these faces. None for no captions.
        classes: the K names of the columns of probabilities.
        columns: faces in a row.
        size: of the longer side of each, in pixels; smaller faces are enlarged without smoothing.

    Raises:
        UsageError: no faces or more than 512, numbers of faces and labels that differ, or probabilities without names.
        DataError: a picture cannot be read.

    >>> faces = fergan.load_generator().generate(range(8))
    >>> judge = fergan.load_classifier()
    >>> fergan.show(faces, judge.predict(fergan.prepare_faces(faces)), classes=judge.labels)
    """
    pictures = [_picture(face) for face in _each(faces)]
    if not 0 < len(pictures) <= _MOST:
        raise UsageError(f"show takes 1 to {_MOST} faces, not {len(pictures)}; take some of them, such as faces[:64]")
    captions = _captions(labels, classes, len(pictures))
    tiles = [_tile(picture, caption, size) for picture, caption in zip(pictures, captions, strict=True)]
    return Shown(f'<div style="max-width:{columns * (size + 6)}px">{"".join(tiles)}</div>')


def _each(faces: Any) -> list[Any]:
    if isinstance(faces, str | os.PathLike | Image.Image):
        return [faces]
    if hasattr(faces, "detach"):  # a tensor of torch, which need not be imported for this
        faces = faces.detach().cpu().numpy()
    if isinstance(faces, np.ndarray) and (faces.ndim == 2 or (faces.ndim == 3 and faces.shape[2] == 3)):
        return [faces]
    if not isinstance(faces, Iterable):
        raise UsageError(f"faces must be uint8 arrays, Pillow images or paths, not {type(faces).__name__}")
    return list(faces)


def _picture(face: Any) -> Image.Image:
    try:
        return as_picture(read_image(face) if isinstance(face, str | os.PathLike) else face)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"faces must be uint8 arrays, Pillow images or paths ({printable(error, 120)})") from error


def _captions(labels: Any, classes: Sequence[str] | None, n: int) -> list[str]:
    if labels is None:
        return [""] * n
    if isinstance(labels, LabelTable):
        labels, classes = labels.probabilities, labels.classes
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        if classes is None or len(classes) != labels.shape[1]:
            raise UsageError(f"probabilities of {labels.shape[1]} classes need as many names: classes=judge.labels")
        texts = [f"{classes[int(row.argmax())]} {percent(float(row.max()), 0)}" for row in labels]
    else:
        texts = [str(label) for label in labels]
    if len(texts) != n:
        raise UsageError(f"there are {plural(n, 'face')} and {plural(len(texts), 'label')}; give one for each")
    return texts


def _tile(picture: Image.Image, caption: str, size: int) -> Markup:
    if max(picture.size) > size:
        picture = picture.copy()
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    text = printable(caption, 80)
    image = Markup('<img src="{}" alt="{}" style="width:{}px;display:block;image-rendering:pixelated">').format(
        source, text, size
    )
    return Markup('<span style="{};width:{}px">{}{}</span>').format(_TILE, size, image, text)
