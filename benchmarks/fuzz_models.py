"""Feed damaged and hostile classifiers to the readers: nothing may run, hang, eat memory or escape as another error.

    python -m benchmarks.fuzz_models --n 20000 --seed 0

Small Keras 3, HDF5 and ONNX files are made first. Then each round takes one of three kinds: one of them damaged at
random; one edited where it counts (the configuration, the weights in HDF5, the zip's members, the protobuf's fields),
so that the damage reaches deep; a hostile file, written to attack its reader. Each file is opened as
``fergan classify --model`` opens it, and judges four pictures, while

* an audit hook watches for code that runs, processes, connections and files written elsewhere, in this process and in
  the child that tries the file first;
* a timer interrupts what takes longer than twenty seconds.

A file must load, or end in ``DataError`` or ``UsageError``; a hostile one must not load. The table at the end counts
outcomes by kind, and says how much memory this process and the largest child took. The exit code is 1 if anything else
happened, or a process took 1 GiB more than at the start.
"""

import argparse
import base64
import collections
import io
import json
import marshal
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import torch
from fergan.classify.backend import keras
from fergan.classify.classifier import load_classifier
from fergan.runtime.errors import DataError, UsageError
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.damage import damaged, edit_json  # noqa: E402
from support.watch import Timeout  # noqa: E402

SECONDS = 20
MOST_MEMORY = 2**30
LABELS = ["a", "b", "c"]
FACES = np.arange(4 * 48 * 48, dtype=np.uint32).reshape(4, 48, 48).astype(np.uint8)
MARKER = Path("/tmp/fergan-fuzz-model-was-here")
L = keras.layers
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "socket.bind"),
    *("marshal.loads", "pickle.find_class", "code.__new__", "os.chmod", "urllib.Request"),
)


class Watch:
    """Leaves :data:`MARKER` when what no model may cause happens: a folder, which a child without files can make."""

    def __init__(self):
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if not self.on or (event == "marshal.loads" and "importlib" in sys._getframe(1).f_code.co_filename):
            return
        written = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        inside = written and str(args[0]).startswith((tempfile.gettempdir(), "/dev/null"))
        if (written and not inside) or event.startswith(FORBIDDEN):
            self.on = False
            os.makedirs(MARKER / f"{event} {args}".replace("/", "_")[:200], exist_ok=True)


def _ring(number, frame):
    raise Timeout


def try_file(path, watch):
    """(outcome, detail): ``refused`` or ``loaded``; or ``ran code``, ``hung``, ``escaped``."""
    old = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    watch.on = True
    try:
        said = load_classifier(path, "cpu", labels=LABELS).predict(FACES)
        outcome = ("loaded", "") if np.isfinite(said).all() else ("escaped", "says NaN")
    except (DataError, UsageError) as error:
        outcome = "refused", str(error)
    except Timeout:
        outcome = "hung", f"more than {SECONDS} s"
    except BaseException as error:
        outcome = "escaped", repr(error)
    finally:
        watch.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    if MARKER.exists():
        outcome = "ran code", str([place.name for place in MARKER.iterdir()])
        for place in MARKER.iterdir():
            place.rmdir()
        MARKER.rmdir()
    return outcome


# ---------------------------------------------------------------------------------------------------------------------
# Sound files, and parts of them put together again.


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


# ---------------------------------------------------------------------------------------------------------------------
# Files edited where it counts.


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


# ---------------------------------------------------------------------------------------------------------------------
# Hostile files.


def hostile(rng, sound):
    return rng.choice(ATTACKS)(rng, sound)


def _code(rng, sound):
    """Layers and objects that ask for code of the file's, or for any function by its name."""
    program = compile(f"__import__('os').mkdir({str(MARKER)!r})", "x", "exec")
    function = base64.b64encode(marshal.dumps(program)).decode()
    lamb = {"module": "builtins", "class_name": "__lambda__", "config": {"code": function, "defaults": None}}
    layers = (
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": lamb}},
        {"module": "os", "class_name": "mkdir", "config": str(MARKER), "registered_name": "mkdir"},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {
            "class_name": "Lambda",
            "config": {"name": "l", "function": [function, None, None], "function_type": "lambda"},
        },
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["mkdir", str(MARKER)]}},
    )
    name = rng.choice(("chain.keras", "graph.keras", "chain.h5", "graph.h5"))

    def attacked(text):
        config = json.loads(text)
        listed = config["config"]["layers"]
        layer = dict(rng.choice(layers))
        place = rng.randrange(1, len(listed))
        if rng.random() < 0.5:
            listed[place] = layer
        else:
            listed[place]["config"][rng.choice(list(listed[place]["config"]))] = layer
        return json.dumps(config)

    if name.endswith(".h5"):

        def change(file):
            file.attrs["model_config"] = attacked(file.attrs["model_config"])

        return name, with_hdf5(sound[name], change)
    parts = members(sound[name])
    parts["config.json"] = attacked(parts["config.json"]).encode()
    return name, zipped(parts)


def _growth(rng, sound):
    """Networks of a few kilobytes whose arrays double at each layer."""
    x = pixels = keras.Input((48, 48, 1))
    for _ in range(rng.choice((18, 20, 24))):
        x = L.Concatenate()([x, x])
    parts = members(sound["chain.keras"])
    parts["config.json"] = keras.Model(pixels, L.GlobalAveragePooling2D()(x)).to_json().encode()
    return "growth.keras", zipped(parts)


def _zip_bomb(rng, sound):
    parts = members(sound["graph.keras"])
    parts[rng.choice(("config.json", "model.weights.h5"))] = bytes(rng.choice((2**26, 2**28)))
    return "bomb.keras", zipped(parts, zipfile.ZIP_DEFLATED)


def _zero_tail(rng, sound):
    """Half-copied files: what is missing reads as zeros, of which libhdf5 can make endless loops."""
    name = rng.choice(("graph.h5", "chain.h5"))
    data = sound[name]
    kept = rng.randrange(1, len(data) - 1)
    return name, data[:kept] + bytes(len(data) - kept)


def _onnx(rng, sound):
    """Loops without end, functions that call functions that double, tensors outside the file, and huge ones."""
    how = rng.randrange(4)
    if how == 0:
        body = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["u"])],
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
        return "loop.onnx", onnx_file(
            [helper.make_node("Loop", ["n", "yes", "scores"], ["said"], body=body)], (), turns
        )
    if how == 1:
        functions, opsets = [], [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        for depth in range(rng.choice((24, 30))):
            call, domain = (f"f{depth - 1}", "f") if depth else ("Identity", "")
            nodes = [helper.make_node(call, [a], [b], domain=domain) for a, b in (("x", "m"), ("m", "y"))]
            functions.append(helper.make_function("f", f"f{depth}", ["x"], ["y"], nodes, opsets))
        last = functions[-1].name
        return "laughs.onnx", onnx_file([helper.make_node(last, ["scores"], ["said"], domain="f")], functions)
    model = onnx.ModelProto.FromString(sound["graph.onnx"])
    tensor = model.graph.initializer[0]
    if how == 2:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(("/etc/passwd", "../../etc/passwd", "/dev/zero", "model.onnx"))
        return "outside.onnx", model.SerializeToString()
    large = numpy_helper.from_array(np.array([2**20, 2**12, 3], np.int64), "shape")
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    tail = [
        zeros,
        helper.make_node("ReduceSum", ["zeros"], ["sum"]),
        helper.make_node("Add", ["scores", "sum"], ["said"]),
    ]
    return "large.onnx", onnx_file(tail, (), [large])


ATTACKS = (_code, _code, _growth, _zip_bomb, _zero_tail, _onnx)
_MAY_LOAD = (_zero_tail,)  # where the tail holds nothing that counts


def cases(seed, sound):
    """Endless (kind, name, bytes, whether it may load)."""
    rng = random.Random(seed)
    while True:
        kind, name = rng.randrange(8), rng.choice(list(sound))
        if kind < 4:
            yield "damaged", name, damaged(rng, sound[name]), True
        elif kind < 7:
            try:
                yield "edited", name, edited(rng, name, sound[name]), True
            except Exception:  # what was edited cannot be written
                continue
        else:
            attack = rng.choice(ATTACKS)
            yield (f"hostile {attack.__name__.strip('_')}", *attack(rng, sound), attack in _MAY_LOAD)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="how many files")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that made something go wrong")
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes, wrong, slowest, done = collections.Counter(), [], (0.0, ""), 0
    with tempfile.TemporaryDirectory() as folder:
        sound, watch = sound_files(folder), Watch()
        for name in sound:
            load_classifier(Path(folder) / name, "cpu", labels=LABELS).predict(FACES)  # everything is imported now
            assert (said := try_file(Path(folder) / name, watch))[0] == "loaded", (name, said)
        here, child = _peaks()
        began = time.perf_counter()
        for kind, name, data, may_load in cases(options.seed, sound):
            if done == options.n or time.perf_counter() - began > 60 * options.minutes:
                break
            path = Path(folder) / f"model{Path(name).suffix}"
            path.write_bytes(data)
            start = time.perf_counter()
            outcome, detail = try_file(path, watch)
            done += 1
            slowest = max(slowest, (time.perf_counter() - start, f"{kind}: {name}"))
            if outcome == "loaded" and not may_load:
                outcome = "taken for sound"
            outcomes[kind, outcome] += 1
            if outcome not in ("refused", "loaded"):
                wrong.append((outcome, kind, name, detail[-200:]))
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{len(wrong):04d}-{name}").write_bytes(data)
            if done % 100 == 0:
                print(f"{done:>7,} files, {time.perf_counter() - began:.0f} s, {len(wrong)} wrong", flush=True)
    grown = [after - before for before, after in zip((here, child), _peaks(), strict=True)]

    print(f"\n{'kind':<20} {'outcome':<16} files")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:<20} {outcome:<16} {count:>7,}")
    memory = " and ".join(f"{size / 2**20:.0f} MiB" for size in grown)
    print(f"\n{done:,} files; slowest: {slowest[0]:.2f} s ({slowest[1]}); here and in a child at most {memory} more")
    for item, count in collections.Counter(wrong).most_common(20):
        print(count, *item)
    return 1 if wrong or max(grown) > MOST_MEMORY else 0


def _peaks():
    """Bytes that this process, and the largest of its children, had in memory at most."""
    return [resource.getrusage(who).ru_maxrss * 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


if __name__ == "__main__":
    sys.exit(main())
