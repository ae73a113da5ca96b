"""Every kind of picture comes in as the right 8-bit values; what cannot be read says why; what is written is whole."""

import contextlib
import errno
import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from fergan.data import images as module
from fergan.data.image_source import ImageSource, list_images
from fergan.data.images import image_pixels, read_image, write_png
from fergan.runtime.errors import DataError, UsageError
from fergan.runtime.files import printable, write_atomically
from PIL import Image

RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2
GRAY = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7) * 7


def encode(image, format="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(format):
    options = {"lossless": True} if format == "WEBP" else {}
    np.testing.assert_array_equal(read_image(encode(RGB, format, **options)), RGB)
    if format != "WEBP":  # which stores gray as RGB
        np.testing.assert_array_equal(read_image(encode(GRAY, format)), GRAY[:, :, None])


def test_pgm_and_avif_are_read_and_heic_is_named(tmp_path):
    np.testing.assert_array_equal(read_image(encode(GRAY, "PPM"))[:, :, 0], GRAY)
    deep = b"P5 2 1 65535\n" + struct.pack(">2H", 0, 65535)
    assert read_image(deep).ravel().tolist() == [0, 255]
    if "AVIF" in module.FORMATS:
        assert np.abs(read_image(encode(Image.new("RGB", (16, 16), (200, 50, 90)), "AVIF")) - [200.0, 50, 90]).max() < 6
    (tmp_path / "photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (source,) = ImageSource(tmp_path).names
    if not module.HEIF:
        with pytest.raises(DataError, match=r"photo.HEIC: is a HEIC picture; run: pip install 'fergan\[heic\]'"):
            ImageSource(tmp_path).read(source)
        return
    import pillow_heif

    colour = Image.new("RGB", (64, 48), (200, 50, 90))
    pillow_heif.from_pillow(colour).save(tmp_path / "photo.HEIC", quality=90)
    assert np.abs(ImageSource(tmp_path).read(source) - np.asarray(colour, float)).max() < 8


def test_result_is_plain_contiguous_and_writable():
    for array in (read_image(encode(RGB)), read_image(encode(GRAY)), read_image(encode(Image.new("LA", (4, 3))))):
        assert array.dtype == np.uint8 and array.flags.c_contiguous and array.flags.writeable and array.ndim == 3


def test_jpeg_and_cmyk_keep_the_colour():
    colour = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    for picture in (Image.fromarray(colour), Image.fromarray(colour).convert("CMYK")):
        assert np.abs(read_image(encode(picture, "JPEG", quality=95)).astype(int) - colour).max() <= 4
    assert read_image(encode(GRAY, "JPEG")).shape == (5, 7, 1)


def test_16_bit_gray_is_scaled_not_clipped():
    deep = np.array([[0, 127, 129, 257 * 100], [257 * 200, 40000, 65407, 65535]], np.uint16)
    expected = np.floor(deep / 257 + 0.5).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(read_image(encode(deep, format))[:, :, 0], expected)


def tiff(words, bits, photometric):
    """A minimal little-endian TIFF of one gray row in ``words`` of 16 bits (RGB and the like need no such help)."""
    data = struct.pack(f"<{len(words)}H", *words)
    tags = [(256, 3, len(words)), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, 1), (279, 4, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def test_16_bit_tiff_with_white_as_zero_is_inverted():
    assert read_image(tiff([0, 65535, 257 * 10], 16, 0)).ravel().tolist() == [255, 0, 245]


def test_1_bit_palette_and_16_bit_with_transparency():
    bits = Image.fromarray(np.array([[0, 255, 255], [255, 0, 255]], np.uint8)).convert("1", dither=0)
    assert read_image(encode(bits))[:, :, 0].tolist() == [[0, 255, 255], [255, 0, 255]]
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert read_image(encode(palette)).tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    for data in (encode(palette, transparency=1), encode(palette, "GIF", transparency=1)):
        assert read_image(data).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]
        assert read_image(data, background="#010203")[0, 1].tolist() == [1, 2, 3]
    deep = encode(np.array([[0, 300, 65535]], np.uint16))
    trns = b"tRNS" + struct.pack(">H", 300)  # added by hand: Pillow writes no transparency for 16-bit gray
    at = deep.index(b"IDAT") - 4
    deep = deep[:at] + struct.pack(">I", 2) + trns + struct.pack(">I", zlib.crc32(trns)) + deep[at:]
    assert read_image(deep, background="#808080").tolist() == [[[0], [128], [255]]]


def test_alpha_is_composited_on_the_named_background():
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 0, 0, 51]]], np.uint8)
    assert read_image(encode(rgba)).tolist() == [[[200, 100, 0], [255, 255, 255], [204, 204, 204]]]
    assert read_image(encode(rgba), background="black")[0, 1].tolist() == [0, 0, 0]
    gray_alpha = Image.merge("LA", [Image.new("L", (2, 1), 50), Image.new("L", (2, 1), 0)])
    assert read_image(encode(gray_alpha)).tolist() == [[[255], [255]]]
    assert read_image(encode(gray_alpha), background="red")[0, 0].tolist() == [255, 0, 0]  # needs three channels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    stored = {1: GRAY, 2: GRAY[:, ::-1], 3: GRAY[::-1, ::-1], 4: GRAY[::-1], 5: GRAY.T, 6: GRAY.T[::-1]}
    stored |= {7: GRAY.T[::-1, ::-1], 8: GRAY.T[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "TIFF"):
        data = encode(np.ascontiguousarray(stored[orientation]), format, exif=exif)
        np.testing.assert_array_equal(read_image(data)[:, :, 0], GRAY, err_msg=format)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(format):
    red, blue = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    first = read_image(encode(red, format, save_all=True, append_images=[blue]))
    assert first.shape == (8, 8, 3) and np.abs(first.astype(int) - [250, 0, 0]).max() <= 6


def bomb_png(width=60000, height=60000):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"IDAT" + zlib.compress(bytes(1000))
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, body))
    return b"\x89PNG\r\n\x1a\n" + chunks


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
BAD = {
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "not a readable PNG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable PNG"),
    "png header only": (encode(NOISE)[:20], "truncated or damaged|not a readable"),
    "png cut": (encode(NOISE)[:5000], "truncated or damaged"),
    "jpeg cut": (encode(NOISE, "JPEG")[:2000], "truncated or damaged"),
    "bmp cut": (encode(NOISE, "BMP")[:5000], "truncated or damaged"),
    "gif cut": (encode(NOISE, "GIF")[:2500], "truncated or damaged"),
    "tiff cut": (encode(NOISE, "TIFF")[:5000], "truncated or damaged"),
    "webp cut": (encode(NOISE, "WEBP", lossless=True)[:2000], "truncated or damaged|not a readable"),
    "bomb": (bomb_png(), "pixel count"),
    "smaller bomb": (bomb_png(10000, 10000), "10000 x 10000 pixels"),
    "float": (encode(Image.new("F", (4, 4), 0.5), "TIFF"), "floating-point"),
    "32-bit": (encode(Image.new("I", (4, 4), 70000), "TIFF"), "32-bit integer"),
}


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD)
def test_unreadable_file_is_named_with_its_fault_on_one_line(kind, tmp_path):
    data, fault = BAD[kind]
    path = tmp_path / "face 7.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=fault) as info:
        read_image(path)
    assert str(info.value).startswith(f"{path}: ") and "\n" not in str(info.value)


def test_random_damage_never_raises_anything_but_data_error():
    rng = np.random.default_rng(1)
    for format in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):  # libtiff prints its complaints to stderr by itself
        whole = bytearray(encode(NOISE[:16, :16], format))
        for _ in range(60):
            data = whole.copy()
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(256)
            with contextlib.suppress(DataError):
                read_image(bytes(data))


def test_missing_file_folder_pipe_and_too_large_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "big.png").write_bytes(encode(NOISE))
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    faults = {"gone.png": "No such file", ".": "is not a file", "pipe.png": "is not a file", "big.png": "MiB"}
    for name, fault in faults.items():
        with pytest.raises(DataError, match=fault):
            read_image(tmp_path / name)
    with pytest.raises(UsageError, match="nocolour"):
        read_image(encode(RGB), background="nocolour")


def test_list_images_is_recursive_natural_and_passes_hidden_files_over(tmp_path):
    names = ["2.png", "10.PNG", "a/1.jpg", "B/3.webp", "a/01.jpg", "c.tiff", "img9b.gif", "img10.bmp"]
    for name in [*names, ".hidden.png", ".git/x.png", "__MACOSX/x.png", "a/._1.jpg", "labels.csv", "d.png/e.jpeg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    listed = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert listed == ["2.png", "10.PNG", "a/01.jpg", "a/1.jpg", "B/3.webp", "c.tiff", "d.png/e.jpeg"] + [
        "img9b.gif",
        "img10.bmp",
    ]


def test_files_without_ending_names_that_are_not_utf8_and_links_to_nothing(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (b"IMG_0001", b"caf\xe9.png", b"caf\\udce9.png"):
        (folder / os.fsdecode(name)).write_bytes(encode(RGB))
    (folder / "LICENSE").write_text("PNG")
    os.mkfifo(folder / "pipe")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = pickle.loads(pickle.dumps(ImageSource(folder)))
    assert source.names == (r"caf\udce9.png", r"caf\udce9.png_", "gone.png", "IMG_0001")
    assert source.readable == tuple(name for name in source.names if name != "gone.png")
    for name in source.readable:
        np.testing.assert_array_equal(source.read(name), RGB)
    with pytest.raises(DataError, match="gone.png: cannot be read"):
        source.read("gone.png")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("IMG_0001", encode(RGB))
        archive.writestr("LICENSE", "PNG")
    assert ImageSource(tmp_path / "faces.zip").names == ("IMG_0001",)


def test_folder_missing_empty_or_a_file(tmp_path):
    (tmp_path / "readme.txt").touch()
    for name, fault in {".": "holds no images", "no": "does not exist", "readme.txt": "is not a folder"}.items():
        with pytest.raises(DataError, match=fault):
            list_images(tmp_path / name)
        with pytest.raises(DataError):
            ImageSource(tmp_path / name)


def test_folder_and_zip_are_the_same_source(tmp_path):
    folder = tmp_path / "faces"
    for name, array in {"00000/img2.png": RGB, "00000/img10.png": GRAY, "bad.jpg": None}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"junk" if array is None else encode(array))
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.json", "{}")
        archive.writestr("__MACOSX/00000/._img2.png", "junk")
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    for path in (folder, tmp_path / "faces.zip"):
        with pickle.loads(pickle.dumps(ImageSource(path))) as source:
            assert source.names == ("00000/img2.png", "00000/img10.png", "bad.jpg") and len(source) == 3
            np.testing.assert_array_equal(source.read("00000/img2.png"), RGB)
            np.testing.assert_array_equal(source.read("00000/img10.png"), GRAY[:, :, None])
            with pytest.raises(DataError, match="bad.jpg") as error:
                source.read("bad.jpg")
            assert str(path) in str(error.value)
            with pytest.raises(KeyError):
                source.read_bytes("../faces.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "faces.zip"]  # nothing was extracted


def test_zip_that_lies_is_encrypted_oversized_or_damaged(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.png", bytes(200_000))
        archive.writestr("odd.png", b"x", zipfile.ZIP_BZIP2)
        archive.writestr("../up.png", encode(RGB))
    good = path.read_bytes()
    source = ImageSource(path)
    np.testing.assert_array_equal(source.read("../up.png"), RGB)  # harmless: never a path
    with pytest.raises(DataError, match="unusual method"):
        source.read_bytes("odd.png")
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    with pytest.raises(DataError, match="big.png.*MiB"):
        source.read_bytes("big.png")
    central = good.index(b"PK\1\2")  # the first member's entry: flags at 8, uncompressed size at 24
    lies = good[: central + 24] + struct.pack("<I", 500) + good[central + 28 :]
    encrypted = good[: central + 8] + b"\1" + good[central + 9 :]
    for data, fault in ((lies, "cannot be unpacked"), (encrypted, "encrypted")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=fault):
            ImageSource(path).read_bytes("big.png")
    faults = {good[:300]: "not a readable zip", b"": "not a readable zip", b"PK\5\6" + bytes(18): "holds no images"}
    for data, fault in faults.items():
        path.write_bytes(data)
        with pytest.raises(DataError, match=fault):
            ImageSource(path)


def test_write_png_round_trips_and_depends_on_the_pixels_alone(tmp_path):
    for array in (RGB, GRAY, GRAY[:, :, None], RGB[::-1], RGB[:1, :1], GRAY[:, :1]):
        for level in (None, 6):
            write_png(tmp_path / "a.png", array, level)
            write_png(tmp_path / "b.png", array.copy(), level)
            assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
            np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.atleast_3d(array))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    for bad in (RGB.astype(float), RGB[None], np.zeros((0, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(UsageError, match="uint8"):
            write_png(tmp_path / "c.png", bad)
    with pytest.raises(UsageError, match="compress_level 10"):
        write_png(tmp_path / "c.png", RGB, 10)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "face.png"
    write_png(path, GRAY)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def stopped(*args):
        raise KeyboardInterrupt

    disk_full = pytest.raises(DataError, match="face.png: cannot be written: the disk is full")
    for failure, expected in ((full, disk_full), (stopped, pytest.raises(KeyboardInterrupt))):
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "replace", failure)
            with expected:
                write_png(path, RGB)
        assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["face.png"]
    with pytest.raises(DataError, match="folder does not exist"):
        write_atomically(tmp_path / "none" / "x.png", b"")


def test_printable_keeps_text_and_escapes_the_rest():
    assert printable(Path("Zoë 1.png")) == "Zoë 1.png"
    assert printable("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"


def test_what_follows_the_end_of_a_png_is_no_damage() -> None:
    data = encode(RGB)
    np.testing.assert_array_equal(read_image(data + b"\0\0\0\0left over by an editor"), read_image(data))
    np.testing.assert_array_equal(read_image(data + b"\0\0\0\x01ABCD12345"), read_image(data))


def test_an_open_picture_is_read_as_its_file_is(tmp_path) -> None:
    turned = Image.fromarray(RGB)
    exif = turned.getexif()
    exif[0x0112] = 6
    clear = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    for name, picture, options in (
        ("a.jpg", turned, {"exif": exif}),
        ("a.tif", turned, {"exif": exif}),
        ("b.png", clear, {}),
    ):
        picture.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(image_pixels(opened), read_image(tmp_path / name))
