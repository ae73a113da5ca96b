"""Keras on torch. Keras picks its backend when it is first imported, so everything here imports it from this module."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402

if keras.backend.backend() != "torch":
    raise RuntimeError(
        f"keras was imported with the {keras.backend.backend()} backend before fergan.classify, which needs torch; "
        "import fergan.classify first or set KERAS_BACKEND=torch"
    )

__all__ = ["keras"]
