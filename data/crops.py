"""The crops by name, light enough for the command line."""

from typing import Literal, get_args

Crop = Literal["none", "ffhq", "detect"]
"""``none``: the whole picture. ``ffhq``: :data:`.faces.FFHQ_BOX`. ``detect``: the largest face that OpenCV finds."""

CROPS: tuple[str, ...] = get_args(Crop)
