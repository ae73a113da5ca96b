"""Classifiers written to attack their reader: code, endless work, and far more memory than their size gives reason for.

Each attack gives (name, bytes, whether the file may load). Code may only load where nothing reads it: as a setting of a
layer other than its activation.
"""

import base64
import functools
import json
import marshal
import random
import zipfile
import zlib

import h5py
import numpy as np
import onnx
from fergan.classify.backend import keras
from onnx import TensorProto, helper, numpy_helper

from .damage import damaged
from .models import edited, members, onnx_file, with_hdf5, zipped

L = keras.layers


def case(seed, number, sound, marker):
    """The file of this number: (kind, name, bytes, whether it may load); code in it would make the folder ``marker``.

    Half of the files are damaged at random, three of eight edited where it counts, and one of eight is hostile.
    """
    rng = random.Random(f"{seed}/{number}")
    kind, name = rng.randrange(8), rng.choice(list(sound))
    if kind < 4:
        return "damaged", name, damaged(rng, sound[name]), True
    while kind < 7:
        try:
            return "edited", name, edited(rng, name, sound[name]), True
        except Exception:  # what was edited cannot be written
            continue
    (attack,) = rng.choices(list(ATTACKS), ATTACKS.values())
    return (f"hostile {attack.__name__.strip('_')}", *attack(rng, sound, marker))


def _with_config(data, change):
    """A ``.keras`` or ``.h5`` file whose configuration went through ``change``, from and to text."""
    if not data.startswith(b"PK"):
        return with_hdf5(data, lambda file: file.attrs.__setitem__("model_config", change(file.attrs["model_config"])))
    parts = members(data)
    parts["config.json"] = change(parts["config.json"].decode()).encode()
    return zipped(parts)


def _with_weights(data, change):
    """A ``.keras`` file after ``change(file)`` of its weights."""
    parts = members(data)
    parts["model.weights.h5"] = with_hdf5(parts["model.weights.h5"], change)
    return zipped(parts)


def _code(rng, sound, marker):
    """Layers and objects that ask for code of the file's, or for any function by its name."""
    program = compile(f"__import__('os').mkdir({str(marker)!r})", "x", "exec")
    function = base64.b64encode(marshal.dumps(program)).decode()
    lamb = {"module": "builtins", "class_name": "__lambda__", "config": {"code": function, "defaults": None}}
    lists = {"name": "l", "function": [function, None, None], "function_type": "lambda"}
    layer = rng.choice(
        (
            {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": lamb}},
            {"module": "os", "class_name": "mkdir", "config": str(marker), "registered_name": "mkdir"},
            {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
            {"class_name": "Lambda", "config": lists},
            {"module": "subprocess", "class_name": "Popen", "config": {"args": ["mkdir", str(marker)]}},
        )
    )
    name = rng.choice(("chain.keras", "graph.keras", "chain.h5", "graph.h5"))
    as_layer, pick = rng.random() < 0.5, rng.random()
    unread = False

    def attacked(text):
        nonlocal unread
        config = json.loads(text)
        listed = config["config"]["layers"]
        place = 1 + int(pick * (len(listed) - 1))
        if as_layer:
            listed[place] = layer
        else:
            key = rng.choice(list(listed[place]["config"]))
            listed[place]["config"][key] = layer
            unread = key not in ("activation", "use_bias", "scale", "center")
        return json.dumps(config)

    data = _with_config(sound[name], attacked)
    return name, data, unread


@functools.cache
def _growing(depth, kind, weights):
    """Networks of a few kilobytes whose arrays double at each layer."""
    x = pixels = keras.Input((48, 48, 1))
    for _ in range(depth):
        grown = {
            "Concatenate": lambda x: L.Concatenate()([x, x]),
            "UpSampling": lambda x: L.UpSampling2D((2, 1))(x),
            "ZeroPadding": lambda x: L.ZeroPadding2D((x.shape[1] // 2, 0))(x),
        }
        x = grown[kind](x)
    parts = members(weights)
    parts["config.json"] = keras.Model(pixels, L.GlobalAveragePooling2D()(x)).to_json().encode()
    return zipped(parts)


def _growth(rng, sound, marker):
    kind = rng.choice(("Concatenate", "UpSampling", "ZeroPadding"))
    return "growth.keras", _growing(rng.choice((18, 20, 24)), kind, sound["chain.keras"]), False


def _laughs(rng, sound, marker):
    """Models that call the model inside them twice, so that the work doubles with each level."""

    def tensor(name, node):
        history = {"shape": [None, 48, 48, 1], "dtype": "float32", "keras_history": [name, node, 0]}
        return {"class_name": "__keras_tensor__", "config": history}

    def calls(name, *entering):
        return {"name": name, "inbound_nodes": [{"args": [tensor(*each)], "kwargs": {}} for each in entering]}

    relu = {"module": "keras.layers", "class_name": "ReLU", "config": {"name": "r"}, "registered_name": None}
    inner, name = relu, "r"
    for level in range(rng.choice((14, 20, 30))):
        shape = {"batch_shape": [None, 48, 48, 1], "dtype": "float32", "sparse": False, "name": f"i{level}"}
        entry = {"module": "keras.layers", "class_name": "InputLayer", "config": shape, "registered_name": None}
        layers = [{**entry, **calls(f"i{level}")}, {**inner, **calls(name, (f"i{level}", 0), (name, 0))}]
        ends = {"input_layers": [[f"i{level}", 0, 0]], "output_layers": [[name, 1, 0]]}
        name = f"m{level}"
        inner = {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional"}
        inner["config"] = {"name": name, "trainable": True, "layers": layers, **ends}
    where = rng.choice(("graph.keras", "graph.h5"))

    def nested(text):
        config = json.loads(text)
        listed = config["config"]["layers"]
        listed.insert(1, {**inner, **calls(name, (listed[0]["config"]["name"], 0))})
        return json.dumps(config)

    return where, _with_config(sound[where], nested), True  # the levels are there, and nothing leads to the output


@functools.cache
def _compressed(size, times):
    """A chunk of zeros, deflated several times, so that it says nothing of its size."""
    if times > 1:
        return zlib.compress(_compressed(size, times - 1), 9)
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(2**24)) for _ in range(size // 2**24)]) + packer.flush()


def _chunks(rng, sound, marker):
    """An array in one chunk far larger than itself, which unpacks to half a gigabyte."""
    times = rng.choice((1, 2, 3))
    chunk = _compressed(2**29, times)

    def change(file):
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(names)
        shape = file[name].shape
        del file[name]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((*[max(n, 1) for n in shape[:-1]], 2**27 // max(1, int(np.prod(shape[:-1])))))
        for _ in range(times):
            plan.set_deflate(9)
        space = h5py.h5s.create_simple(shape, (*shape[:-1], h5py.h5s.UNLIMITED))
        made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plan)
        made.write_direct_chunk((0,) * len(shape), chunk)

    return "chunks.keras", _with_weights(sound["graph.keras"], change), False


def _deep(rng, sound, marker):
    """Text, groups and links of a depth or size that no model has."""
    how, depth = rng.randrange(5), rng.choice((1000, 100_000))
    where = rng.choice(("graph.keras", "chain.h5"))
    if how == 0:
        return (
            where,
            _with_config(sound[where], lambda text: text[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"),
            True,
        )
    if how == 1:
        return where, _with_config(sound[where], lambda text: '{"a":' * depth + text + "}" * depth), False
    if how == 2:
        return where, _with_config(sound[where], lambda text: text.replace("48", "9" * depth)), False

    def change(file):
        if how == 3:
            group = file
            for _ in range(1000):
                group = group.create_group("g")
            group["file"] = file["/"]  # and round again
        else:
            strings = np.array(["x" * 10_000] * 100, dtype=h5py.string_dtype())
            target = rng.choice((file, file[next(iter(file))]))
            target.attrs.create(rng.choice(("layer_names", "weight_names", "backend")), strings[:1])
            target["strings"] = strings

    if where.endswith(".h5"):
        return where, with_hdf5(sound[where], change), True
    return where, _with_weights(sound[where], change), True


@functools.cache
def _bomb(member, size, data):
    parts = members(data)
    parts[member] = bytes(size)
    return zipped(parts, zipfile.ZIP_DEFLATED)


def _zip_bomb(rng, sound, marker):
    member = rng.choice(("config.json", "metadata.json", "model.weights.h5"))
    return "bomb.keras", _bomb(member, rng.choice((2**24, 2**27)), sound["graph.keras"]), False


def _zero_tail(rng, sound, marker):
    """Half-copied files: what is missing reads as zeros, of which libhdf5 can make endless loops."""
    name = rng.choice(("graph.h5", "chain.h5"))
    data = sound[name]
    kept = rng.randrange(1, len(data) - 1)
    return name, data[:kept] + bytes(len(data) - kept), True  # where the tail holds nothing that counts


def _loop(rng, sound, marker):
    """Loops without end, or whose arrays double."""
    grows = rng.random() < 0.5
    step = (
        helper.make_node("Concat", ["v", "v"], ["u"], axis=0) if grows else helper.make_node("Identity", ["v"], ["u"])
    )
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), step],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
    )
    turns = [numpy_helper.from_array(np.array(2**62), "n"), numpy_helper.from_array(np.array(True), "yes")]
    loop = helper.make_node("Loop", ["n", "yes", "scores"], ["said"], body=body)
    return "loop.onnx", onnx_file([loop], (), turns), False


def _functions(rng, sound, marker):
    """Functions that call functions twice, or themselves."""
    functions, opsets = [], [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    own = rng.random() < 0.3
    for depth in range(rng.choice((24, 30))):
        call, domain = (f"f{depth if own else depth - 1}", "f") if depth or own else ("Identity", "")
        nodes = [helper.make_node(call, [a], [b], domain=domain) for a, b in (("x", "m"), ("m", "y"))]
        functions.append(helper.make_function("f", f"f{depth}", ["x"], ["y"], nodes, opsets))
    last = helper.make_node(functions[-1].name, ["scores"], ["said"], domain="f")
    return "laughs.onnx", onnx_file([last], functions), False


def _outside(rng, sound, marker):
    """Weights that lie in another file."""
    model = onnx.ModelProto.FromString(sound["graph.onnx"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (
        "/etc/passwd",
        "../../etc/passwd",
        "/dev/zero",
        "model.onnx",
        "",
        ".",
        "*/_ORT_MEM_ADDR_/*",
        "\0",
        "x" * 5000,
    )
    entries = {"location": rng.choice(places), "offset": rng.choice(("0", "-8", str(2**60), "x"))}
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return "outside.onnx", model.SerializeToString(), False


def _large(rng, sound, marker):
    """Arrays of terabytes, of a size that the file or the picture says, and reads outside an array."""
    how = rng.randrange(4)
    if how == 0:
        values = [numpy_helper.from_array(np.array([2**20, 2**12, 3], np.int64), "shape")]
        nodes = [helper.make_node("ConstantOfShape", ["shape"], ["zeros"])]
    elif how == 1:
        values = [numpy_helper.from_array(np.array([2**33], np.int64), "more")]
        nodes = [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Cast", ["top"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Add", ["whole", "more"], ["shape"]),
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        ]
    elif how == 2:
        values = [numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 2**24, 2**16, 0], np.int64), "pads")]
        nodes = [helper.make_node("Pad", ["x", "pads"], ["zeros"])]
    else:
        where = rng.choice((2**40, -(2**40), 7))
        values = [
            numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "pooled"),
            numpy_helper.from_array(np.array([[[[0, where], [where, 3]]]], np.int64), "places"),
        ]
        unpool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes = [helper.make_node("MaxUnpool", ["pooled", "places"], ["zeros"], **unpool)]
    nodes += [
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["scores", "sum"], ["raised"]),
        helper.make_node("Softmax", ["raised"], ["said"]),
    ]
    return "large.onnx", onnx_file(nodes, (), values), how == 3 and where == 7


ATTACKS = {
    _code: 10,
    _deep: 8,
    _growth: 4,
    _zero_tail: 8,
    _zip_bomb: 2,
    _outside: 4,
    _large: 4,
    _functions: 2,
    _loop: 1,
    _laughs: 1,
    _chunks: 1,
}
"""How often each is tried; the last four use up the child's limits, which takes seconds."""
