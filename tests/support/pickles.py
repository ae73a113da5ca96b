"""Pickles, torch files, zips and safetensors headers in the making, every part of which can be made wrong."""

import io
import json
import pickle
import struct
import zipfile

from fergan.stylegan.checkpoints import native


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
