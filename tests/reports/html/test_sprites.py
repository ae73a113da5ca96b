import base64
import io
import re

import numpy as np
import pytest
from fergan.reports.html.sprites import as_picture, make_sprites
from PIL import Image


def cut(css: str, cell, size: int = 200) -> np.ndarray:
    """What a browser paints into a square box of `size` for a cell, by the rules of CSS backgrounds."""
    sheet = rf"\.s{cell.sheet}"
    rule = r'\{background-image:url\("data:image/jpeg;base64,([^"]+)"\);background-size:([\d.]+)% ([\d.]+)%'
    data, width, height = re.search(sheet + rule, css).groups()
    x = float(re.search(sheet + rf"\.c{cell.column}\{{background-position-x:([\d.]+)%", css)[1]) / 100
    y = float(re.search(sheet + rf"\.r{cell.row}\{{background-position-y:([\d.]+)%", css)[1]) / 100
    w, h = size * float(width) / 100, size * float(height) / 100
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    scale = picture.width / w
    left, top = (w - size) * x * scale, (h - size) * y * scale
    return np.asarray(picture.resize((size, size), box=(left, top, left + size * scale, top + size * scale)))


def test_every_cell_shows_its_own_face() -> None:
    colours = {f"{i}": np.full((48, 48, 3), (i % 7 * 40, i // 7 % 7 * 40, i // 49 * 40), np.uint8) for i in range(300)}
    sprites = make_sprites(colours, colours.__getitem__)
    assert {cell.sheet for cell in sprites.cells.values()} == {0, 1}
    for name in ("0", "15", "16", "100", "255", "256", "299"):
        shown = cut(sprites.css, sprites.cells[name]).reshape(-1, 3)
        assert abs(shown.astype(int) - colours[name][0, 0]).max() <= 12  # to the very edge, within JPEG's error


def test_a_face_is_loaded_once_and_large_ones_are_shrunk() -> None:
    calls = []

    def load(name: str) -> Image.Image:
        calls.append(name)
        return Image.effect_noise((1024, 1024), 50)

    sprites = make_sprites(["a", "b", "a"], load, size=64)
    assert sorted(calls) == ["a", "b"] and len(sprites.css) < 30_000


def test_quality_and_then_size_give_way_to_the_budget() -> None:
    def noise(name: str) -> Image.Image:
        return Image.effect_noise((128, 128), 80)

    names = [f"{i}" for i in range(40)]
    free, tight = (make_sprites(names, noise, size=124, budget=budget) for budget in (10**7, 60_000))
    assert len(tight.css) < 60_000 * 4 / 3 + 5_000 < len(free.css)
    assert len(tight.cells) == 40


def test_an_oblong_face_is_shown_whole() -> None:
    sprites = make_sprites(["wide"], lambda _: Image.new("RGB", (80, 40), "red"))
    shown = cut(sprites.css, sprites.cells["wide"])
    assert shown[100, 5, 0] > 200 and shown[100, 195, 0] > 200  # from edge to edge
    assert abs(int(shown[10, 100, 0]) - 128) < 12  # with grey above


def test_an_unreadable_face_is_named_and_the_others_are_shown() -> None:
    def load(name: str) -> Image.Image:
        if name == "bad":
            raise OSError("image file is truncated")
        return Image.new("L", (8, 8))

    sprites = make_sprites(["bad", "good"], load)
    assert list(sprites.cells) == ["good"] and "truncated" in sprites.unreadable["bad"]
    assert make_sprites([], load).css == "" and make_sprites(["bad"], load).cells == {}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F", "YCbCr", "HSV"])
def test_every_mode_of_picture_becomes_eight_bits(mode: str) -> None:
    assert as_picture(Image.new(mode, (8, 8))).mode in ("L", "RGB")


def test_sixteen_bits_keep_their_brightness_and_transparency_is_white() -> None:
    deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert np.asarray(as_picture(deep)).max() == 128
    assert np.asarray(as_picture(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))).min() == 255


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 3)])
def test_arrays_are_faces(shape: tuple[int, ...]) -> None:
    assert as_picture(np.zeros(shape, np.uint8)).size == (4, 4)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_not(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        as_picture(array)
