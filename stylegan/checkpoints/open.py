"""Open a checkpoint of any supported format, chosen by its content and not by its name."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import native, rosinality, stylegan2_ada, tensorflow
from .checkpoint import Checkpoint, StoredNetwork, naming, skeleton
from .errors import CheckpointError
from .restricted_pickle import Machine, brief
from .stand_ins import STAND_INS, PersistentObject, TensorFlowNetwork
from .torch_files import MAGIC, read_legacy, read_zip

MAX_FILE_SIZE = 8 * 2**30

KNOWN = (
    "fergan opens generators of stylegan2-ada-pytorch and stylegan3 (.pkl, StyleGAN2 only), of the TensorFlow "
    "programs (.pkl, config-e and config-f), of rosinality/stylegan2-pytorch (.pt) and its own .safetensors"
)

LICENCE_NOTICES = {
    "stylegan2-ada": (
        "Networks published by NVIDIA are under the NVIDIA Source Code License: non-commercial, for research and "
        "evaluation only. A network that you trained yourself is yours."
    ),
    "tensorflow": (
        "Networks published by NVIDIA are under the NVIDIA Source Code License-NC: non-commercial, for research and "
        "evaluation only. A network that you trained yourself is yours."
    ),
    "rosinality": (
        "Files converted from NVIDIA's networks stay under NVIDIA's non-commercial licence; "
        "for others ask whoever trained them."
    ),
}

# Beginnings of files that people mistake for checkpoints, and what they are.
OTHER_KINDS: list[tuple[bytes, str]] = [
    (b"version https://git-lfs", "a Git LFS pointer in place of the file itself; run `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file, perhaps a Keras model; generators are not kept in those"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
    (b"\x89PNG", "a PNG image, not a network"),
    (b"\xff\xd8\xff", "a JPEG image, not a network"),
    (b"\x93NUMPY", "a numpy array, not a network"),
]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a file, find out its format, and check that there is a generator in it that fergan can draw with.

    Nothing of the file is executed, whatever it contains. The networks are built when they are asked for.

    Args:
        path: of any supported format; its name does not matter.

    Raises:
        CheckpointError: the file does not exist or cannot be used; the message says why and what to do.
    """
    path = Path(path)
    with naming(path):
        data = _read(path)
        sha256 = hashlib.sha256(data).hexdigest()
        found = _identify(data)
        return Checkpoint(path, sha256, len(data), *found)


def describe(path: str | Path) -> dict[str, Any]:
    """What ``fergan inspect`` tells about a checkpoint, as JSON values.

    Keys: ``path``, ``size``, ``sha256``, ``format``, ``architecture``, ``resolution``, ``channels`` (of the image),
    ``classes``, ``parameters`` (trained numbers), ``tensors``, ``config``, ``discriminator`` (whether there is one),
    ``metadata`` (with ``training_set`` where known) and ``licence_notice`` (or None).

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    with naming(checkpoint.path):
        network = skeleton(checkpoint.stored.factory, config)
    return {
        "path": str(checkpoint.path),
        "size": checkpoint.size,
        "sha256": checkpoint.sha256,
        "format": checkpoint.format,
        "architecture": checkpoint.architecture,
        "resolution": config.img_resolution,
        "channels": config.img_channels,
        "classes": getattr(config, "c_dim", 0),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "tensors": len(checkpoint.stored.tensors),
        "config": native.config_to_json(config),
        "discriminator": checkpoint.stored_discriminator is not None,
        "metadata": checkpoint.metadata,
        "licence_notice": checkpoint.metadata.get("licence") or LICENCE_NOTICES.get(checkpoint.format),
    }


def convert(path: str | Path, out: str | Path) -> None:
    """Write the generator of any checkpoint in fergan's own format: smaller, and its weights the same to the bit.

    Args:
        path: the checkpoint.
        out: usually ``NAME.safetensors``; replaced in one step.

    Raises:
        CheckpointError: as :func:`read_checkpoint`.
        DataError: ``out`` cannot be written.
    """
    checkpoint = read_checkpoint(path)
    metadata = dict(checkpoint.metadata)
    if checkpoint.format != "fergan":
        metadata["converted_from"] = {"format": checkpoint.format, "sha256": checkpoint.sha256}
        metadata.setdefault("licence", LICENCE_NOTICES.get(checkpoint.format))
    native.save_generator(out, checkpoint.generator, checkpoint.config, metadata)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise CheckpointError("a folder, not a checkpoint file")
        if not path.is_file():
            raise CheckpointError("there is no such file" if not path.exists() else "not a regular file")
        size = path.stat().st_size
        if size > MAX_FILE_SIZE:
            raise CheckpointError(f"{size / 2**30:.0f} GiB, more than any StyleGAN2 checkpoint has; {KNOWN}")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})") from None
    if not data:
        raise CheckpointError("the file is empty; get a fresh copy")
    return data


Found = tuple[str, str, StoredNetwork, Callable[[], StoredNetwork] | None, dict[str, Any]]
"""format, architecture, generator, discriminator, metadata: the fields of :class:`Checkpoint`."""


def _identify(data: bytes) -> Found:
    start = data[:512]
    for beginning, kind in OTHER_KINDS:
        if start.startswith(beginning):
            raise CheckpointError(kind)
    if start.lstrip()[:1] == b"<":
        raise CheckpointError("a web page in place of a checkpoint: the download failed or needs a login; get it again")
    if start.startswith(b"PK\x03\x04"):
        return _torch(read_zip(data, STAND_INS))
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        architecture, generator, metadata = native.read_generator(data)
        return "fergan", architecture, generator, None, metadata
    if start.startswith(b"\x80"):
        view = memoryview(data)
        root = Machine(view, STAND_INS).read()
        if type(root) is int and root == MAGIC:
            return _torch(read_legacy(view, STAND_INS))
        return _pickle(root)
    raise CheckpointError(f"of no kind that fergan knows; {KNOWN}")


def _pickle(root: Any) -> Found:
    """What a pickle of NVIDIA's programs holds."""
    if type(root) is PersistentObject:
        root = {"D" if root.class_name == "Discriminator" else "G_ema": root}
    if type(root) is TensorFlowNetwork:
        root = (None, None, root)
    if type(root) is tuple and len(root) == 3 and any(type(item) is TensorFlowNetwork for item in root):
        if root[2] is None:
            raise CheckpointError("a TensorFlow pickle without Gs, the averaged generator; use another snapshot")
        _, d, gs = root
        discriminator = None if d is None else lambda: tensorflow.read_discriminator(d)
        return "tensorflow", "stylegan2", tensorflow.read_generator(gs), discriminator, {}
    if type(root) is dict and "G_ema" in root or type(root) is dict and "D" in root:
        if root.get("G_ema") is None:
            raise CheckpointError("only a discriminator or a generator in training, no G_ema; use another snapshot")
        d = root.get("D")
        discriminator = None if d is None else lambda: stylegan2_ada.read_discriminator(d)
        metadata = {"training_set": _plain(root.get("training_set_kwargs"))}
        generator = stylegan2_ada.read_generator(root["G_ema"])
        return "stylegan2-ada", "stylegan2", generator, discriminator, {k: v for k, v in metadata.items() if v}
    raise CheckpointError(f"a pickle of {brief(root)}, and no generator in it that fergan knows; {KNOWN}")


def _torch(root: Any) -> Found:
    """What a torch file holds."""
    if type(root) is dict:
        if "GAN" in root:
            raise CheckpointError(
                "a checkpoint of lucidrains/stylegan2-pytorch, whose network is another one under the same name and "
                f"cannot be converted; {KNOWN}"
            )
        if "generator_smooth" in root or "generator" in root:
            raise CheckpointError(f"a checkpoint of genforce or a program like it, which fergan does not read; {KNOWN}")
        if "input.input" in root:
            root = {"g_ema": root}
        if "g_ema" in root or "g" in root:
            metadata = {"training": _plain(rosinality.training_arguments(root))}
            generator = rosinality.read_generator(root)
            return "rosinality", "stylegan2", generator, None, {k: v for k, v in metadata.items() if v}
        if "d" in root:
            raise CheckpointError("only a discriminator, no generator in it; use another snapshot")
    raise CheckpointError(f"a torch file of {brief(root)}, and no generator in it that fergan knows; {KNOWN}")


def _plain(value: Any, depth: int = 3) -> Any:
    """The JSON part of something that a file says about itself, kept small."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is str:
        return value[:500].encode("utf-8", "replace").decode()
    if type(value) is dict and depth:
        items = [(k, _plain(v, depth - 1)) for k, v in list(value.items())[:100] if type(k) is str and len(k) <= 100]
        return {k: v for k, v in items if v is not None}
    if type(value) in (list, tuple) and depth:
        return [_plain(v, depth - 1) for v in value[:20]]
    return None
