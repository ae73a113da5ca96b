"""Sound checkpoints of every format, damaged at random or edited so that the damage reaches deep."""

import io
import json
import pickletools
import random
import tempfile
import zipfile
from pathlib import Path

import torch
from fergan.stylegan.checkpoints import native
from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator

from . import layouts
from .hostile import LARGE, hostile
from .pickles import global_, safetensors, value


def sound_files(folder):
    """Small sound checkpoints of every format: {name: bytes}."""
    g = layouts.tiny_generator(img_resolution=8, channels=(3, 2))
    same = layouts.tiny_generator(img_resolution=8, channels=(3, 2), z_dim=5)
    conditional = layouts.tiny_generator(img_resolution=8, channels=(3, 2), c_dim=2, architecture="resnet")
    d = layouts.tiny_discriminator(img_resolution=8, channels=(3, 2))
    folder = Path(folder)
    layouts.write_ada(folder / "ada.pkl", g, d)
    layouts.write_ada(folder / "stylegan3.pkl", conditional, flat=True, protocol=2, old_numpy=True, nhwc=True)
    layouts.write_tensorflow(folder / "tensorflow4.pkl", g, d, 4, 2)
    layouts.write_tensorflow(folder / "tensorflow5.pkl", conditional, None, 5, 5)
    layouts.write_rosinality(folder / "converted.pt", same)
    layouts.write_rosinality(folder / "training.pt", same, training=True)
    layouts.write_rosinality(folder / "legacy.pt", same, training=True, legacy=True)
    native.save_generator(folder / "stylegan2.safetensors", g, metadata={"licence": "CC0"})
    native.save_generator(folder / "dcgan.safetensors", DCGANGenerator(DCGANConfig(4, 32, 1, 1)), dtype=torch.float16)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def damaged(rng, data):
    """``data`` with random damage: bytes flipped, cut out, put in, moved, doubled, or the end cut off."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, length = rng.randrange(len(data) or 1), rng.choice((1, 1, 4, 8, 50, 1000))
        how = rng.randrange(7)
        if how == 0:
            del data[at:]
        elif how == 1:
            del data[at : at + length]
        elif how == 2:
            data[at:at] = rng.randbytes(length)
        elif how == 3:
            data[at:at] = data[at : at + length]
        elif how == 4:
            other = rng.randrange(len(data) or 1)
            data[at : at + length] = data[other : other + length]
        else:
            for _ in range(rng.choice((1, 2, 8))):
                if data:
                    data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(data)


SNIPPETS = [
    *(bytes([code]) for code in b"()012.NQRabehjqrstuo]}" + bytes(range(0x80, 0x99))),
    *(value(number) for number in (0, 1, -1, 3, 255, *LARGE)),
    *(global_(*name) for name in (("os", "system"), ("numpy", "ndarray"), ("torch", "FloatStorage"))),
    *(global_(*name) for name in (("collections", "OrderedDict"), ("torch._utils", "_rebuild_parameter"))),
    *(value(item) for item in ("x", b"x", 1.5, None, True, (), {}, [])),
]


def edited(rng, data):
    """A pickle with instructions replaced, put in, left out or swapped, so that it often still parses."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except ValueError:  # not only a pickle
        return damaged(rng, data)
    starts.append(starts[-1] + 1)
    for _ in range(rng.choice((1, 1, 2, 4))):
        which = rng.randrange(1, len(starts) - 1)
        start, end = starts[which], starts[which + 1]
        instruction = data[start:end]
        how = rng.randrange(5)
        if how == 0:
            changed = b""
        elif how == 1:
            changed = instruction * 2
        elif how == 2:
            changed = rng.choice(SNIPPETS)
        elif how == 3:
            changed = rng.choice(SNIPPETS) + instruction
        else:
            changed = instruction[:1] + rng.randbytes(max(0, len(instruction) - 1))
        data = data[:start] + changed + data[end:]
        moved = len(changed) - len(instruction)
        starts = [position if position <= start else position + moved for position in starts]
    return data


def edited_inside(rng, name, data):
    """The same for the pickle of a zip, with its checksum put right, and for the JSON of a safetensors file."""
    if name.endswith(".pt") and data.startswith(b"PK"):
        source = zipfile.ZipFile(io.BytesIO(data))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for entry in source.infolist():
                content = source.read(entry)
                content = edited(rng, content) if entry.filename.endswith("data.pkl") else content
                archive.writestr(entry.filename, content)
        return out.getvalue()
    if name.endswith(".safetensors"):
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        for _ in range(rng.choice((1, 1, 2))):
            if rng.random() < 0.5 and isinstance(header.get("__metadata__"), dict):
                _edit_json(rng, header["__metadata__"])
            else:
                _edit_json(rng, header)
        return safetensors(header, data[8 + length :])
    return edited(rng, data)


def _edit_json(rng, node):
    keys = list(node) if isinstance(node, dict) else range(len(node))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.9:
        _edit_json(rng, node[key])
    elif isinstance(node[key], str) and node[key].startswith("{"):
        inner = json.loads(node[key])
        _edit_json(rng, inner)
        node[key] = json.dumps(inner)
    else:
        wild = (0, 1, -1, 2, 3.5, "", "x", None, True, [], {}, [1], {"x": 1}, "F16", "I64", 1e999, *LARGE)
        node[key] = rng.choice(wild)
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]


def cases(seed):
    """Endless (kind, name, bytes, whether it may load)."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        sound = sound_files(folder)
    while True:
        kind = rng.randrange(3)
        if kind == 0:
            name, data = hostile(rng)
            yield "hostile", name, data, False
            continue
        name = rng.choice(list(sound))
        change = damaged(rng, sound[name]) if kind == 1 else edited_inside(rng, name, sound[name])
        yield ("damaged", "edited")[kind - 1], name, change, True
