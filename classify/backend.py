"""Keras on torch. Keras picks its backend when it is first imported, so everything here imports it from this module."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402

if keras.backend.backend() != "torch":
    raise RuntimeError(
        f"keras was imported with the {keras.backend.backend()} backend before fergan.classify, which needs torch; "
        "import fergan.classify first or set KERAS_BACKEND=torch"
    )

# Where TensorFlow is installed, Keras loads it to set seeds and to save models, only to look for objects of its kinds.
# That takes seconds and prints lines. With torch as the backend there are none, unless the caller uses TensorFlow too.
if "tensorflow" not in sys.modules:
    from keras.src.utils import module_utils  # noqa: E402

    if getattr(module_utils.tensorflow, "_available", False) is None:
        module_utils.tensorflow._available = False

__all__ = ["keras"]
