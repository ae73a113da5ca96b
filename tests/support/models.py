"""Small sound Keras, HDF5 and ONNX classifiers, and the same edited where it counts."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
from fergan.classify.backend import keras
from onnx import TensorProto, helper, numpy_helper

from .damage import damaged, edit_json

L = keras.layers


def sound_files(folder):
    """Name -> bytes of small models of each format and of several layers."""
    pixels = keras.Input((48, 48, 1))
    x = L.Conv2D(4, 3, strides=4, activation="relu")(L.Rescaling(1 / 255)(pixels))
    x = L.Add()([x, L.BatchNormalization()(x)])
    model = keras.Model(pixels, L.Dense(3, activation="softmax")(L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))))
    chain = keras.Sequential([pixels, L.MaxPooling2D(4), L.Flatten(), L.Dense(3, activation="softmax")])
    found = {}
    for name, made in (("graph.keras", model), ("graph.h5", model), ("chain.keras", chain), ("chain.h5", chain)):
        made.save(Path(folder) / name)
        found[name] = (Path(folder) / name).read_bytes()
    found["graph.onnx"] = onnx_file([helper.make_node("Softmax", ["scores"], ["said"])])
    (Path(folder) / "graph.onnx").write_bytes(found["graph.onnx"])
    return found


def onnx_file(tail, functions=(), extra=()):
    """A linear classifier whose last nodes are ``tail``: ``scores`` in, ``said`` out."""
    weights = numpy_helper.from_array(np.full((48 * 48, 3), 0.001, np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"]), *tail]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 48, 48, 1])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, ["n", 3])],
        [weights, *extra],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9)
    return model.SerializeToString()


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def with_hdf5(data, change):
    """An HDF5 file after ``change(file)``."""
    held = io.BytesIO(data)
    with h5py.File(held, "r+") as file:
        change(file)
    return held.getvalue()


def edited(rng, name, data):
    if name.endswith(".onnx"):
        return _edited_onnx(rng, data)
    if name.endswith(".h5"):
        return with_hdf5(data, lambda file: _edit_hdf5(rng, file))
    parts = members(data)
    how = rng.randrange(5)
    if how == 0:
        parts["model.weights.h5"] = damaged(rng, parts["model.weights.h5"])
    elif how == 1:
        parts["model.weights.h5"] = with_hdf5(parts["model.weights.h5"], lambda file: _edit_hdf5(rng, file))
    elif how == 2:
        parts[rng.choice(("../x", "/etc/passwd", "assets/x.npz", "config.json/x", "model.weights.npz"))] = b"x" * 99
    else:
        which = rng.choice(("config.json", "config.json", "metadata.json"))
        parts[which] = _edited_json(rng, parts[which])
    return zipped(parts, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))


def _edited_json(rng, text):
    node = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        edit_json(rng, node)
    return json.dumps(node).encode()


def _edit_hdf5(rng, file):
    names, groups = [], [file]
    file.visititems(lambda name, item: (groups if isinstance(item, h5py.Group) else names).append(item))
    how = rng.randrange(6)
    if how == 0 and "model_config" in file.attrs:
        file.attrs["model_config"] = _edited_json(rng, file.attrs["model_config"]).decode()
        return
    item = rng.choice(names)
    where, name = item.parent, item.name
    if how == 1:
        group = rng.choice(groups)
        wild = (b"x", "y" * 9, np.arange(3), np.float32(np.nan), np.array([b"a", b"b"]), -1, 2**40)
        group.attrs[rng.choice([*group.attrs, "weight_names", "backend"])] = rng.choice(wild)
    elif how == 2:
        del where[name]
        where[name] = rng.choice((h5py.SoftLink(name), h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/")))
    elif how == 3:
        shape = tuple(rng.choice((0, 1, 3, 2**20, 2**30)) for _ in item.shape)
        del where[name]
        where.create_dataset(name, shape, "f4", chunks=tuple(min(side, 8) or 1 for side in shape), maxshape=shape)
    elif how == 4:
        del where[name]
        where[name] = rng.choice((np.array(["a"], dtype=h5py.string_dtype()), np.zeros(3, "c16"), np.int8(1), "text"))
    else:
        values = item[()]
        item[...] = np.full_like(values, rng.choice((np.nan, np.inf, 1e38, -1e38, 0)))


def _edited_onnx(rng, data):
    model = onnx.ModelProto.FromString(data)
    message = model
    for _ in range(rng.randrange(1, 7)):  # walk down to any message of the file
        inner = [
            part
            for field, value in message.ListFields()
            if field.message_type
            for part in (value if hasattr(value, "__len__") else [value])
        ]
        if not inner:
            break
        message = rng.choice(inner)
    fields = [field for field, _ in message.ListFields() if not field.message_type]
    for field in rng.sample(fields, min(len(fields), rng.choice((1, 1, 2)))):
        kind = type(getattr(message, field.name))
        if kind is str:
            setattr(
                message, field.name, rng.choice(("", "x", "Loop", "If", "Identity", "../x", "ai.onnx.ml", "n" * 9999))
            )
        elif kind is int:
            setattr(message, field.name, rng.choice((0, 1, -1, 2, 7, 11, 2**20, 2**31 - 1)))
        elif kind is bytes:
            setattr(message, field.name, damaged(rng, getattr(message, field.name)))
        else:
            message.ClearField(field.name)
    return model.SerializeToString()
