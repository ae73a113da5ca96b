"""Feed damaged and hostile checkpoints to the readers: nothing may run, hang, eat memory or escape as another error.

    python -m benchmarks.fuzz_checkpoints --n 20000 --seed 0

Small files of every format are made first. Then each round takes one of three kinds: a hostile file, written to attack
a pickle, zip or safetensors reader, with random details; a file of any format, damaged at random; a pickle edited
instruction by instruction, so that the damage reaches deep. Each file is opened, its networks are built and it is
described, while

* an audit hook watches for code that runs, processes, imports, and files opened to write;
* a timer interrupts what takes longer than ten seconds;
* the address space is limited to two gigabytes more than at the start.

A hostile file must end in ``CheckpointError``. A damaged one may also load, where only numbers changed. The table at
the end counts outcomes by kind; the exit code is 1 if anything else happened. Errors that the readers had not foreseen,
and that only the catch-all turned into ``CheckpointError``, are listed too, and counted as failures.
"""

import argparse
import collections
import encodings.cp437  # noqa: F401  zipfile imports it on demand; imports while a file is read would look like an attack
import importlib.util
import io
import json
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch
from fergan.stylegan.checkpoints import CheckpointError, describe, native, read_checkpoint

SECONDS = 10
GIGABYTES = 2
MARKER = "/tmp/fergan-fuzz-was-here"
ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = (
    *("exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__", "object.__setattr__"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.putenv", "os.remove", "os.rename"),
    *("os.mkdir", "os.rmdir", "os.chmod", "subprocess.Popen", "socket.", "shutil.", "ctypes.", "urllib.Request"),
)


class Watch:
    """Records what happens while a file is read. Audit hooks cannot be taken back, so it is switched on and off."""

    def __init__(self):
        self.on = False
        self.events = []
        sys.addaudithook(self._hook)

    def _hook(self, event, args):
        if not self.on:
            return
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if writes or event.startswith(FORBIDDEN):
            self.events.append((event, str(args)[:200]))


class Timeout(BaseException):
    """Raised by the timer; no reader's ``except Exception`` catches it."""


def _ring(number, frame):
    raise Timeout


_watch = None


def try_file(path):
    """Open, build and describe a file.

    Returns:
        (outcome, detail): ``refused`` or ``loaded``, or ``ran code``, ``hung``, ``unforeseen`` or ``escaped``.
    """
    global _watch
    _watch = _watch or Watch()
    _watch.events = []
    old = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watch.on = True
    try:
        checkpoint = read_checkpoint(path)
        _ = checkpoint.generator, checkpoint.discriminator
        json.dumps(describe(path), allow_nan=False)
        outcome, detail = "loaded", ""
    except CheckpointError as error:
        foreseen = error.__cause__ is None and str(path) in str(error)
        outcome, detail = ("refused", str(error)) if foreseen else ("unforeseen", str(error))
    except Timeout:
        outcome, detail = "hung", f"more than {SECONDS} s"
    except BaseException as error:
        outcome, detail = "escaped", repr(error)
    finally:
        _watch.on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    if _watch.events:
        outcome, detail = "ran code", str(_watch.events[:3])
    return outcome, detail


# ---------------------------------------------------------------------------------------------------------------------
# Hostile files. P is a pickle in the making: each method appends the instructions of one thing.


class Calls:
    """Pickles as a call of ``name`` with ``args``; Python's pickle looks names up only when it reads."""

    def __init__(self, name, *args):
        self.name, self.args = name, args

    def written(self):
        module, attribute = self.name.rsplit(".", 1)
        return global_(module, attribute) + value(tuple(self.args)) + b"R"


def global_(module, name):
    return f"c{module}\n{name}\n".encode()


def value(item):
    """The instructions that make ``item``; :class:`Calls` inside it are calls, bytes are byte strings."""
    if isinstance(item, Calls):
        return item.written()
    if isinstance(item, Raw):
        return item.code
    if isinstance(item, tuple):
        return b"(" + b"".join(value(part) for part in item) + b"t"
    if isinstance(item, list):
        return b"](" + b"".join(value(part) for part in item) + b"e"
    if isinstance(item, dict):
        return b"}(" + b"".join(value(key) + value(part) for key, part in item.items()) + b"u"
    if isinstance(item, int) and not isinstance(item, bool):
        size = max(1, (item.bit_length() + 8) // 8)
        return b"\x8a" + bytes([size]) + item.to_bytes(size, "little", signed=True)
    body = pickle.dumps(item, 4)  # a plain value: take away the protocol, the frame and the stop
    return (body[11:] if body[2:3] == b"\x95" else body[2:]).replace(b"\x94", b"")[:-1]


class Raw:
    """Instructions as they are."""

    def __init__(self, code):
        self.code = code


def pickled(item, protocol=4):
    return b"\x80" + bytes([protocol]) + value(item) + b"."


FLOATS = ("torch", "FloatStorage")


def storage_file(kind=FLOATS, numel=4, count=None, data=bytes(16), keys=("0",), body=None, reference=None):
    """A legacy torch file with one storage; every part can be made wrong."""
    reference = reference or ("storage", Raw(global_(*kind)), "0", "cpu", numel, None)
    body = value(reference) + b"Q" if body is None else body
    parts = [pickled(0x1950A86A20F9469CFC6C, 2), pickled(1001, 2), pickled({"little_endian": True}, 2)]
    parts += [b"\x80\x02" + body + b".", pickled(list(keys), 2)]
    return b"".join(parts) + struct.pack("<q", (numel if count is None else count) % 2**63) + data


def storage(**changes):
    return Calls("torch.storage._load_from_bytes", storage_file(**changes))


def tensor(offset=0, shape=(2, 2), stride=(2, 1), of=None):
    return Calls("torch._utils._rebuild_tensor_v2", of or storage(), offset, shape, stride, False, {})


def persistent(class_name, parameters=(), modules=(), module_src="", **state):
    state = {"_parameters": dict(parameters), "_buffers": {}, "_modules": dict(modules), **state}
    meta = {"type": "class", "version": 6, "module_src": module_src, "class_name": class_name, "state": state}
    return Calls("torch_utils.persistence._reconstruct_persistent_obj", meta)


def snapshot(**parameters):
    """A stylegan2-ada-pytorch pickle whose generator has these tensors in its mapping network."""
    return {"G_ema": persistent("Generator", modules={"mapping": persistent("MappingNetwork", parameters)})}


def array(dtype="f4", shape=(2,), data=bytes(8), state=(3, "<", None, None, None, -1, -1, 0), order=False):
    kind = Raw(value(Calls("numpy.dtype", dtype, False, True)) + value(state) + b"b")
    made = Calls("numpy.core.multiarray._reconstruct", Raw(global_("numpy", "ndarray")), (0,), b"b")
    return Raw(value(made) + value((1, shape, kind, order, data)) + b"b")


def tensorflow(source="", **variables):
    state = {"version": 4, "name": "Gs", "static_kwargs": {}, "components": {}, "build_module_src": source}
    state["variables"] = [*variables.items()]
    network = Raw(global_("dnnlib.tflib.network", "Network") + b")\x81" + value(state) + b"b")
    return (None, None, network)


def laughs(depth):
    """Twice the one before, ``depth`` times: 2**depth leaves in a few bytes, for whoever walks or hashes them."""
    code = value("ha") + b"\x94"
    for level in range(depth):
        code += b"h" + bytes([level]) + b"h" + bytes([level]) + b"\x86\x94"
    return Raw(code)


def torch_zip(body, compression=zipfile.ZIP_STORED, extra=(), storages=(("0", bytes(16)),), folder="archive"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", body)
        for key, data in storages:
            archive.writestr(f"{folder}/data/{key}", data)
        for name, data in extra:
            archive.writestr(name, data)
    return out.getvalue()


def zip_tensor(numel=4, **changes):
    reference = ("storage", Raw(global_("torch", "FloatStorage")), "0", "cpu", numel)
    return tensor(of=Raw(value(reference) + b"Q"), **changes)


def safetensors(header, data=b""):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body)) + body + data


def fergan_header(architecture="stylegan2", config=None, **tensors):
    ours = {"format": native.FORMAT, "architecture": architecture, "config": config or {}, "metadata": {}}
    return {"__metadata__": {"fergan": json.dumps(ours)}, **tensors}


EVIL = [
    ("os.system", f"touch {MARKER}"),
    ("posix.system", f"touch {MARKER}"),
    ("nt.system", f"touch {MARKER}"),
    ("subprocess.Popen", ["touch", MARKER]),
    ("builtins.eval", f"open({MARKER!r}, 'w')"),
    ("builtins.exec", f"open({MARKER!r}, 'w')"),
    ("__builtin__.eval", f"open({MARKER!r}, 'w')"),
    ("builtins.open", MARKER, "w"),
    ("builtins.getattr", "x", "__class__"),
    ("builtins.__import__", "os"),
    ("importlib.import_module", "antigravity"),
    ("operator.attrgetter", "__class__.__base__.__subclasses__"),
    ("operator.methodcaller", "system", f"touch {MARKER}"),
    ("functools.partial", "x"),
    ("types.CodeType", 0),
    ("torch.load", "/etc/passwd"),
    ("torch.storage.os.system", f"touch {MARKER}"),
    ("torch.hub.load", "x", "y"),
    ("torch._utils._import_dotted_name", "os.system"),
    ("torch.serialization.load", "/etc/passwd"),
    ("numpy.load", "/etc/passwd"),
    ("numpy.core.multiarray.fromfile", "/etc/passwd"),
    ("numpy.testing._private.utils.runstring", "import os", {}),
    ("pickle.loads", b"."),
    ("_pickle.loads", b"."),
    ("shutil.rmtree", "/tmp/fergan-nothing"),
    ("webbrowser.open", "http://127.0.0.1/"),
    ("socket.create_connection", ("127.0.0.1", 9)),
    ("ctypes.CDLL", "libc.so.6"),
    ("runpy.run_path", "/etc/passwd"),
    ("timeit.timeit", f"open({MARKER!r}, 'w')"),
    ("pdb.run", "1"),
    ("dnnlib.util.call_func_by_name", "os.system"),
    ("torch_utils.persistence._src_to_module", "import os"),
    ("training.networks.Generator",),
    ("collections.OrderedDict.__class__", "x"),
    ("fergan.stylegan.checkpoints.open.convert", "/etc/passwd", MARKER),
]

LARGE = (2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 2**100)


def hostile(rng):
    """One hostile file: (what it tries, its bytes). None of them is a generator."""
    return rng.choice(HOSTILE)(rng)


def _calls(rng):
    """A dangerous name, called or set, at some depth of some format, with some protocol."""
    name, *args = rng.choice(EVIL)
    call = Calls(name, *args)
    module, attribute = name.rsplit(".", 1)
    spelt = [
        call,
        Raw(value(module) + value(attribute) + b"\x93" + value(tuple(args)) + b"R"),
        Raw(global_(module, attribute) + value(tuple(args)) + b"\x81"),
        Raw(global_(module, attribute) + b")" + value({}) + b"\x92"),
        Raw(b"(" + global_(module, attribute) + b"".join(value(a) for a in args) + b"o"),
        Raw(b"(" + b"".join(value(a) for a in args) + f"i{module}\n{attribute}\n".encode()),
        Raw(global_("collections", "OrderedDict") + b")R" + value({"__reduce__": call}) + b"b"),
        Raw(b"\x82\x01"),
        Raw(b"P0\n"),
    ]
    thing = rng.choice(spelt)
    inner = thing.code if isinstance(thing, Raw) else thing.written()
    places = [
        pickled(thing, rng.randint(2, 5)),
        pickled({"G_ema": thing}),
        pickled({"G_ema": persistent("Generator", {"w": thing})}),
        pickled(snapshot(w=tensor(of=thing))),
        pickled(snapshot(w=tensor(of=Calls("torch.storage._load_from_bytes", storage_file(body=inner))))),
        pickled(snapshot(w=tensor(of=Calls("torch.storage._load_from_bytes", thing)))),
        pickled(snapshot(w=tensor(of=storage(kind=(module, attribute))))),
        pickled(tensorflow(x=thing)),
        pickled(tensorflow(x=array(state=(3, "<", thing, None, None, -1, -1, 0)))),
        pickled(Calls("torch_utils.persistence._reconstruct_persistent_obj", thing)),
        storage_file(body=inner),
        torch_zip(pickled({"g_ema": {"x": thing}})),
        torch_zip(pickled({"g_ema": {}, "args": Raw(global_("argparse", "Namespace") + b")R" + inner + b"b")})),
    ]
    return f"calls {name}", rng.choice(places)


def _source_code(rng):
    """Source code to run, in the fields where NVIDIA's loaders would run it."""
    code = f"open({MARKER!r}, 'w')\n"
    return rng.choice(
        [
            ("module_src", pickled({"G_ema": persistent("Generator", module_src=code)})),
            ("module_src", pickled({"G_ema": persistent("Discriminator", module_src=code), "D": None})),
            ("build_module_src", pickled(tensorflow(source=code))),
        ]
    )


def _tensors(rng):
    """Windows that reach outside their storage, or that blow up."""
    big, small = rng.choice(LARGE), rng.choice((-1, -2, -(2**31), -(2**63)))
    made = rng.choice(
        [
            tensor(offset=rng.choice((1, 4, 5, big, small))),
            tensor(shape=(2, 3)),
            tensor(shape=(big, 1)),
            tensor(shape=(big, 2), stride=(0, 1)),
            tensor(shape=(2**32, 2**32), stride=(0, 0)),
            tensor(shape=(small, 2)),
            tensor(stride=(small, 1)),
            tensor(stride=(big, 1)),
            tensor(offset=3, stride=(-1, -2)),
            tensor(shape=(2, 2, 1)),
            tensor(shape=(1,) * 9, stride=(1,) * 9),
            tensor(shape=[2, 2]),
            tensor(shape=("2", 2)),
            tensor(shape=(True, True)),
            tensor(offset=0.0),
            tensor(offset=None),
            tensor(of="x"),
            tensor(of=tensor()),
            tensor(shape=laughs(60)),
            tensor(of=storage(numel=big)),
            tensor(of=storage(numel=small)),
            tensor(of=storage(numel=5, data=bytes(16))),
            tensor(of=storage(count=rng.choice((3, 5, big % 2**63, -1)))),
            tensor(of=storage(keys=())),
            tensor(of=storage(keys=("0", "1"))),
            tensor(of=storage(keys=(laughs(60),))),
            tensor(of=storage(kind=("torch", "ComplexFloatStorage"))),
            tensor(of=storage(kind=("torch._utils", "_rebuild_tensor_v2"))),
            tensor(of=storage(reference=("storage", "torch.FloatStorage", "0", "cpu", 4, None))),
            tensor(of=storage(reference=("storage", Raw(global_(*FLOATS)), laughs(60), "cpu", 4, None))),
            tensor(of=storage(reference=("module", "x"))),
            tensor(of=storage(body=storage().written())),
            tensor(of=storage(body=value({}))),
            tensor(of=Calls("torch.storage._load_from_bytes", storage_file()[: rng.randrange(1, 200)])),
            Calls("torch._utils._rebuild_parameter", "x", True, {}),
        ]
    )
    place = rng.choice((snapshot(w=made), {"G_ema": {"x": made}}))
    return "a wild tensor", pickled(place)


def _zips(rng):
    """Archives that blow up, overlap, lie or lack."""
    good = pickled({"g_ema": {"input.input": zip_tensor()}})
    sizes = zip_tensor(numel=rng.choice((3, 5, *LARGE)))
    cases = [
        lambda: torch_zip(b"\x80\x04" + b"0" * 10**7, zipfile.ZIP_DEFLATED),
        lambda: torch_zip(good, zipfile.ZIP_DEFLATED, storages=[("0", bytes(5 * 10**7))]),
        lambda: torch_zip(good, zipfile.ZIP_BZIP2, storages=[("0", bytes(10**7))]),
        lambda: torch_zip(pickled({"g_ema": {"x": sizes}})),
        lambda: torch_zip(pickled({"g_ema": {"x": zip_tensor(offset=3)}})),
        lambda: torch_zip(pickled({"g_ema": {f"style.{i}.weight": zip_tensor() for i in range(500)}})),
        lambda: torch_zip(good, storages=()),
        lambda: torch_zip(good, extra=[("archive/constants.pkl", b"")]),
        lambda: torch_zip(good, extra=[("archive/code/__torch__.py", b"import os")]),
        lambda: torch_zip(good, extra=[("archive/byteorder", b"big")]),
        lambda: torch_zip(good, extra=[(f"archive/data/x{i}", b"") for i in range(2000)]),
        lambda: torch_zip(good, folder="../../tmp"),
        lambda: torch_zip(good, extra=[("other/data.pkl", good)]),
        lambda: torch_zip(pickled({"GAN": {}})),
        lambda: torch_zip(pickled(rng.choice(([], None, 1, "x", {}, {"g_ema": None}, {"g": []}, {"g_ema": {1: 2}})))),
        lambda: torch_zip(good).replace(b"archive/data/0", b"archive/data.pkl"[:14]),
        lambda: b"PK\x03\x04" + rng.randbytes(200),
        lambda: b"PK\x03\x04" + b"PK\x01\x02" * 200_000,
    ]
    return "a wild archive", rng.choice(cases)()


def _bombs(rng):
    """Few bytes that ask for much memory or time."""
    big = rng.choice((2**31 - 1, 2**32 - 1))
    length = struct.pack("<Q", rng.choice((2**40, 2**62, 2**63, 2**64 - 1)))
    many = rng.randrange(10_000, 200_000)
    copy = global_("_codecs", "encode") + b"h\x00" + value("latin1") + b"\x86R"
    cases = [
        b"\x80\x04" + b"Nr" + struct.pack("<I", big) + b".",
        b"\x80\x04" + b"\x8e" + length + b"x.",
        b"\x80\x04" + b"\x8d" + length + b"x.",
        b"\x80\x05" + b"\x96" + length + b"x.",
        b"\x80\x04" + b"\x95" + length + b"N.",
        b"\x80\x04" + b"B" + struct.pack("<I", big) + b"x.",
        b"\x80\x04" + b"\x8b" + struct.pack("<i", rng.choice((2**31 - 1, -1, 17))) + b"x" * 20 + b".",
        b"\x80\x04" + b"(" * many + b".",
        b"\x80\x04" + b"]" * many + b"a" * (many - 1) + b".",
        b"\x80\x04" + b"N" + b"\x85" * many + b".",
        b"\x80\x04" + b"N" + b"2" * many + b".",
        b"\x80\x04" + b"}" * 400_001 + b".",
        b"\x80\x04" + b"]\x94" + b"h\x00a" * many + b".",
        pickled({laughs(60): 1}),
        pickled({"G_ema": laughs(60)}),
        pickled({"G_ema": persistent("Generator", class_name_=laughs(60), _init_kwargs={"z_dim": laughs(60)})}),
        pickled({"G_ema": persistent("Generator"), "training_set_kwargs": {"x": laughs(60)}}),
        pickled(Calls("torch_utils.persistence._reconstruct_persistent_obj", {"type": laughs(60)})),
        pickled(tensorflow(x=array(state=(3, "<", laughs(60), None, None, -1, -1, 0)))),
        pickled(tensorflow(x=array(state=laughs(60)))),
        pickled(Raw(value(Calls("builtins.set", [laughs(60)])))),
        # a layer that is its own child, and layers shared so that a walk would not end
        b"\x80\x04" + _own_child() + b".",
        pickled({"G_ema": _shared_layers(60)}),
        b"\x80\x04]\x94(h\x00h\x00h\x00e\x94}(" + value("G_ema") + b"h\x00u.",
        # one long text, copied again and again
        b"\x80\x04" + value("x" * 10**5) + b"\x94" + copy * 9000 + b".",
    ]
    return "a bomb", rng.choice(cases)


def _own_child():
    layer = global_("torch_utils.persistence", "_reconstruct_persistent_obj")
    state = b"}\x94(" + value("_parameters") + b"}" + value("_buffers") + b"}" + value("_modules") + b"}\x94u"
    fields = b"".join(value(k) + value(v) for k, v in (("type", "class"), ("version", 6), ("class_name", "Generator")))
    meta = b"}(" + fields + value("state") + state + b"u"
    made = layer + meta + b"\x85R\x94"
    return made + b"0h\x01" + value("a") + b"h\x02s0" + b"}" + value("G_ema") + b"h\x02s"


def _shared_layers(depth):
    code = persistent("Generator").written() + b"\x94"
    for level in range(depth):
        child = Raw(b"h" + bytes([level]))
        code += b"0" + persistent("Generator", modules={"a": child, "b": child}).written() + b"\x94"
    return Raw(code)


def _arrays(rng):
    """TensorFlow pickles with arrays of objects, of wrong sizes, and variables that are none."""
    big = rng.choice(LARGE)
    cases = [
        array("O"),
        array("V8"),
        array("S4"),
        array("M8"),
        array("c8"),
        array("f3"),
        array("f" * 1000),
        array(laughs(60)),
        array(shape=(3,)),
        array(shape=(big,)),
        array(shape=(big, 0), data=b""),
        array(shape=(-2,)),
        array(shape=(2, -1)),
        array(shape=laughs(60)),
        array(data="\u20ac\u20ac"),
        array(data=None),
        array(state=(3, "!", None, None, None, -1, -1, 0)),
        array(state=(3, "|", None, ("x",), {"x": 1}, -1, -1, 0)),
        array(state=()),
        Calls("numpy.core.multiarray.scalar", "f4", b"0000"),
        Calls("numpy.core.multiarray.scalar", Calls("numpy.dtype", "f8"), b"0000"),
        Calls("numpy.core.multiarray._reconstruct", Raw(global_("numpy", "dtype")), (0,), b"b"),
        Calls("numpy._core.numeric._frombuffer", b"0000", Calls("numpy.dtype", "f4"), (2,), "C"),
        Calls("numpy.dtype", "O"),
        "x",
        [],
        None,
    ]
    return "a wild array", pickled(tensorflow(**{"4x4/Const/const": rng.choice(cases)}))


def _headers(rng):
    """safetensors files with headers that lie."""
    big = rng.choice(LARGE)
    f32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    config = {"img_resolution": rng.choice((64, 2**13, 2**20, 2**40, 0, -4, 7, "64", None, 4.5, True))}
    deep = b"[" * rng.randrange(1000, 200_000)
    cases = [
        struct.pack("<Q", big % 2**64) + b"{}",
        safetensors(b"{"),
        safetensors({}),
        safetensors({"a": f32}, bytes(16)),
        safetensors({"__metadata__": {"fergan": "{"}}),
        safetensors({"__metadata__": {"fergan": deep.decode()}}),
        safetensors({"__metadata__": {"fergan": json.dumps({"format": "fergan.generator/9"})}}),
        safetensors(b"{" + deep),
        safetensors(fergan_header(a=f32), bytes(15)),
        safetensors(fergan_header(a=f32, b=f32), bytes(16)),
        safetensors(fergan_header(a={**f32, "shape": [big]}), bytes(16)),
        safetensors(fergan_header(a={**f32, "data_offsets": [0, big % 2**63]}), bytes(16)),
        safetensors(fergan_header(a={**f32, "dtype": "O"}), bytes(16)),
        safetensors(fergan_header("stylegan2", config, a=f32), bytes(16)),
        safetensors(fergan_header("stylegan2", {"img_resolution": 64, "num_mapping_layers": 2**20}, a=f32), bytes(16)),
        safetensors(fergan_header("stylegan2", {"img_resolution": 64, "resample_filter": [[1]]}, a=f32), bytes(16)),
        safetensors(fergan_header("dcgan", config, a=f32), bytes(16)),
        safetensors(fergan_header("dcgan", {"base_channels": 2**20}, a=f32), bytes(16)),
        safetensors(fergan_header("dcgan", {"z_dim": 0}, a=f32), bytes(16)),
        safetensors(fergan_header("dcgan", {"__class__": 1}, a=f32), bytes(16)),
        safetensors(fergan_header(rng.choice(("stylegan3", "", 3, None, [])), a=f32), bytes(16)),
    ]
    return "a wild header", rng.choice(cases)


def _nothing(rng):
    """Not a checkpoint at all."""
    noise = rng.randbytes(rng.randrange(1, 300))
    cases = [b"", b"\x80", b"\x80\x04", b"\x80\x04.", b"PK", b"<html>", b"\x89PNG\r\n", b"\x80\x09N.", bytes(1000)]
    cases += [noise, b"\x80\x04" + noise]
    items = (None, 1, [], {}, (1, 2, 3), "x", {"D": None}, {"G_ema": None}, {"G_ema": 1}, b"x" * 99)
    cases += [pickle.dumps(item, 4) for item in items]
    return "no checkpoint", rng.choice(cases)


HOSTILE = (_calls, _calls, _calls, _source_code, _tensors, _tensors, _zips, _bombs, _arrays, _headers, _nothing)


# ---------------------------------------------------------------------------------------------------------------------
# Damaged files


def sound_files(folder):
    """Small sound checkpoints of every format: {name: bytes}."""
    spec = importlib.util.spec_from_file_location("checkpoint_layouts", ROOT / "tests" / "stylegan" / "layouts.py")
    layouts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layouts)
    from fergan.stylegan.dcgan import DCGANConfig, DCGANGenerator

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
                edit_json(rng, header["__metadata__"])
            else:
                edit_json(rng, header)
        return safetensors(header, data[8 + length :])
    return edited(rng, data)


def edit_json(rng, node):
    keys = list(node) if isinstance(node, dict) else range(len(node))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.9:
        edit_json(rng, node[key])
    elif isinstance(node[key], str) and node[key].startswith("{"):
        inner = json.loads(node[key])
        edit_json(rng, inner)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that made something go wrong")
    options = parser.parse_args()

    torch.set_num_threads(1)
    Path(MARKER).unlink(missing_ok=True)
    outcomes = collections.Counter()
    wrong = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        for name in sound_files(folder):  # everything is imported now, so that imports stand out later
            outcome, detail = try_file(Path(folder) / name)
            assert outcome in ("loaded", "ran code"), (name, outcome, detail)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (address_space + GIGABYTES * 2**30,) * 2)
        path = Path(folder) / "file"
        began = time.perf_counter()
        for index, (kind, name, data, may_load) in zip(range(options.n), cases(options.seed), strict=False):
            path.write_bytes(data)
            start = time.perf_counter()
            outcome, detail = try_file(path)
            slowest = max(slowest, (time.perf_counter() - start, f"{kind}: {name}"))
            if outcome == "loaded" and not may_load:
                outcome = "taken for sound"
            if Path(MARKER).exists():
                outcome = "ran code"
                Path(MARKER).unlink()
            outcomes[kind, outcome] += 1
            if outcome not in ("refused", "loaded"):
                wrong.append((outcome, kind, name, detail))
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{len(wrong):04d}").write_bytes(data)
            if (index + 1) % 1000 == 0:
                print(f"{index + 1:>7,} files, {time.perf_counter() - began:.0f} s, {len(wrong)} wrong", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    print(f"\n{'kind':<10} {'outcome':<16} files")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:<10} {outcome:<16} {count:>7,}")
    print(f"\nslowest: {slowest[0]:.2f} s ({slowest[1]}); memory at most {peak - used:.0f} MiB above the start")
    distinct = collections.Counter((outcome, kind, name, detail[-160:]) for outcome, kind, name, detail in wrong)
    for item, count in distinct.most_common(20):
        print(count, *item)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
