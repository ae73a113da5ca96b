"""Files written to attack a pickle, zip or safetensors reader, with random details; none of them is a generator."""

import json
import pickle
import struct
import zipfile

from .pickles import (
    FLOATS,
    Calls,
    Raw,
    array,
    fergan_header,
    global_,
    laughs,
    persistent,
    pickled,
    safetensors,
    snapshot,
    storage,
    storage_file,
    tensor,
    tensorflow,
    torch_zip,
    value,
    zip_tensor,
)

MARKER = "/tmp/fergan-fuzz-was-here"
"""The file that an attack leaves where it succeeds."""

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
