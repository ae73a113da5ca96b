"""The child process of :mod:`fergan.classify.export.export`: Keras on TensorFlow. It imports nothing of torch.

``python -m fergan.classify.export.worker FOLDER`` reads ``job.json`` and ``check.npz`` in the folder, writes the
exported model, loads it again, and writes its outputs for the check to ``outputs.npz`` beside those of Keras.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import first_line

SIZE = 48
OPSET = 17
"""The version of ONNX' operators, of 2022: ONNX Runtime 1.12 and later."""


def main(folder: Path) -> None:
    """Do the job in ``folder``; errors end the process with a line about them on stderr."""
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "check.npz") as check:
        inputs, faces = check["inputs"], check["faces"]
    import keras

    try:
        model = keras.saving.load_model(job["source"], compile=False)
    except Exception as error:  # of almost any type
        sys.exit(f"Keras {keras.__version__} on TensorFlow cannot load it ({first_line(error)})")
    if isinstance(model.output, list | dict) and len(model.outputs) == 1:
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    try:
        outputs = (_savedmodel if job["format"] == "savedmodel" else _onnx)(model, job, inputs, faces)
    except Exception as error:  # conversions fail in as many ways as there are layers
        sys.exit(f"cannot be converted ({first_line(error)})")
    outputs["keras"] = np.concatenate([np.asarray(model(part, training=False)) for part in _batches(inputs)])
    np.savez(folder / "outputs.npz", **outputs)


def _savedmodel(model: Any, job: dict[str, Any], inputs: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    output, (signature, bytes_input) = job["output_name"], job["bytes"]
    prepare = _preparation(model.input_shape[1:], job["scaling"])

    def rows(pictures: Any) -> dict[str, Any]:
        return {output: model(pictures, training=False)}

    def files(contents: Any) -> dict[str, Any]:
        values = model(prepare(contents), training=False)
        return {output: tf.nn.softmax(values) if job["logits"] else values}

    archive = keras.export.ExportArchive()
    archive.track(model)
    native = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=job["input_name"])
    archive.add_endpoint("serving_default", rows, input_signature=[native])
    archive.add_endpoint(signature, files, input_signature=[tf.TensorSpec((None,), tf.string, name=bytes_input)])
    archive.write_out(job["out"], verbose=False)

    loaded = tf.saved_model.load(job["out"]).signatures
    exported = [loaded["serving_default"](**{job["input_name"]: tf.constant(part)}) for part in _batches(inputs)]
    pngs = tf.constant([tf.io.encode_png(face[..., None]).numpy() for face in faces])
    read = [loaded[signature](**{bytes_input: tf.constant(part)}) for part in _batches(pngs)]
    return {
        "exported": np.concatenate([part[output].numpy() for part in exported]),
        "bytes": np.concatenate([part[output].numpy() for part in read]),
    }


def _onnx(model: Any, job: dict[str, Any], inputs: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    spec = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=job["input_name"])]
    call = tf.function(lambda pictures: model(pictures, training=False), input_signature=spec, autograph=False)
    made, _ = tf2onnx.convert.from_function(call, spec, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])})
    _rename_output(made.graph, job["output_name"])
    onnx.helper.set_model_props(made, job["properties"])
    onnx.checker.check_model(made)
    Path(job["out"]).write_bytes(made.SerializeToString())
    session = onnxruntime.InferenceSession(job["out"], providers=["CPUExecutionProvider"])
    parts = [session.run([job["output_name"]], {job["input_name"]: part})[0] for part in _batches(inputs)]
    return {"exported": np.concatenate(parts)}


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """1 - erf(x), for Keras' GELU: ONNX has no Erfc."""
    one = graph.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    erf = graph.make_node("Erf", [node.input[0]]).output[0]
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    graph.make_node("Sub", [one, erf], outputs=node.output, shapes=shapes, dtypes=dtypes)


def _rename_output(graph: Any, name: str) -> None:
    """tf2onnx calls it ``Identity:0``."""
    old = graph.output[0].name
    graph.output[0].name = name
    for node in graph.node:
        node.input[:] = [name if value == old else value for value in node.input]
        node.output[:] = [name if value == old else value for value in node.output]


def _preparation(shape: tuple[int, int, int], scaling: tuple[Any, Any]) -> Callable[[Any], Any]:
    """PNG or JPEG files [N] to what a network of this input takes: ``prepare_faces`` and ``Classifier`` again, in
    TensorFlow's operations.
    """
    import tensorflow as tf

    height, width, channels = shape
    scale, offset = (tf.constant(of, tf.float32) for of in scaling)

    def prepared(contents: Any) -> Any:
        faces = tf.map_fn(face_from_file, contents, fn_output_signature=tf.TensorSpec((SIZE, SIZE, 1), tf.float32))
        if (height, width) != (SIZE, SIZE):
            faces = tf.image.resize(faces, (height, width), "bilinear", antialias=True)
        faces = tf.repeat(faces, channels, axis=-1) if channels > 1 else faces
        return faces if list(scaling) == [1, 0] else faces * scale + offset

    return prepared


def face_from_file(content: Any) -> Any:
    """A PNG or JPEG file -> float32 [48, 48, 1], whole numbers 0..255."""
    import tensorflow as tf

    rgb = tf.cond(
        tf.strings.substr(content, 0, 4) == b"\x89PNG",
        lambda: _on_white(tf.cast(tf.io.decode_png(content, channels=4), tf.int32)),
        # by default TensorFlow takes the fast, less exact transform
        lambda: tf.cast(tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"), tf.int32),
    )
    # Pillow's mode L: ITU-R 601-2 in 16 bits of fixed point
    gray = tf.bitwise.right_shift(tf.reduce_sum(rgb * [19595, 38470, 7471], axis=-1, keepdims=True) + 2**15, 16)
    tall, wide = tf.shape(gray)[0], tf.shape(gray)[1]
    side = tf.minimum(tall, wide)
    # as Pillow does: first along the rows, rounded, then along the columns, and at the edges of the square the filter
    # sees what is beyond
    narrow = _resized(gray, (tall, SIZE), (1, SIZE / side), (0, (wide - side) // 2))
    return tf.ensure_shape(_resized(narrow, (SIZE, SIZE), (SIZE / side, 1), ((tall - side) // 2, 0)), (SIZE, SIZE, 1))


def _resized(picture: Any, size: tuple[Any, Any], scale: tuple[Any, Any], start: tuple[Any, Any]) -> Any:
    """[H, W, 1], from ``start`` on scaled (each of two: down, across) with Pillow's cubic (a = -0.5), and rounded."""
    import tensorflow as tf

    factors = tf.stack([tf.cast(factor, tf.float32) for factor in scale])
    shift = tf.stack([tf.cast(first, tf.float32) for first in start]) * factors
    resized = tf.raw_ops.ScaleAndTranslate(
        images=picture[None], size=size, scale=factors, translation=-shift, kernel_type="keyscubic", antialias=True
    )
    return tf.clip_by_value(tf.floor(resized[0] + 0.5), 0, 255)


def _on_white(rgba: Any) -> Any:
    """int32 [H, W, 4] -> [H, W, 3], with Pillow's rounding of alpha_composite."""
    import tensorflow as tf

    color, alpha = rgba[..., :3], rgba[..., 3:]
    scaled = 128 * (color * alpha + 255 * (255 - alpha)) + 2**14
    by_255 = tf.bitwise.right_shift(tf.bitwise.right_shift(scaled, 8) + scaled, 8)
    return tf.bitwise.right_shift(by_255, 7)


def _batches(values: Any) -> Iterator[Any]:
    """Batches of 1, 2 and 7, then of 32 rows: their number must be free."""
    start = 0
    for size in (1, 2, 7):
        yield values[start : start + size]
        start += size
    for first in range(start, len(values), 32):
        yield values[first : first + 32]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
