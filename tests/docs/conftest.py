"""A folder with the files that the pages name, all of them small."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from fergan import load_generator, prepare_faces, save_generator
from fergan.data.labels import FER2013
from PIL import Image

from ..support.layouts import tiny_generator, write_ada

FACES = 84


def _fer2013(faces: np.ndarray) -> str:
    usage = ["Training", "Training", "PublicTest"]
    rows = [
        f"{i % len(FER2013)},{' '.join(map(str, face.ravel()))},{usage[i // len(FER2013) % 3]}"
        for i, face in enumerate(faces)
    ]
    return "\n".join(["emotion,pixels,Usage", *rows]) + "\n"


def _zip(path: Path, faces: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i, face in enumerate(faces):
            png = io.BytesIO()
            Image.fromarray(face).save(png, "PNG")
            archive.writestr(f"face{i:02d}.png", png.getvalue())


def _film(path: Path, picture: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    frame = np.full((240, 320, 3), 127, np.uint8)
    frame[40:200, 80:240] = cv2.resize(picture[..., ::-1], (160, 160))
    for _ in range(5):
        writer.write(frame)
    writer.release()


def _old_model(path: Path) -> None:
    from fergan.classify.backend import keras

    pixels = keras.Input((48, 48, 1))
    flat = keras.layers.GlobalAveragePooling2D()(pixels)
    keras.Model(pixels, keras.layers.Dense(len(FER2013), activation="softmax")(flat)).save(path)
    card = {"labels": FER2013, "input_range": [0, 255]}
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.fixture(scope="session")
def named_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; tests copy it."""
    folder = tmp_path_factory.mktemp("named")
    generator = load_generator(device="cpu")
    faces = generator.generate(range(FACES))
    (folder / "fer2013.csv").write_text(_fer2013(prepare_faces(faces)))
    _zip(folder / "faces.zip", faces[:16])
    _zip(folder / "others.zip", faces[16:32])
    for name in ("my_gan/samples", "photos"):
        (folder / name).mkdir(parents=True)
        for i, face in enumerate(faces[:16]):
            Image.fromarray(face).save(folder / name / f"face{i:02d}.png")
    Image.fromarray(faces[0]).save(folder / "face.png")
    _film(folder / "film.mp4", faces[0])
    write_ada(folder / "my-gan.pkl", tiny_generator())
    save_generator(folder / "release.safetensors", generator)
    _old_model(folder / "old.h5")
    return folder
