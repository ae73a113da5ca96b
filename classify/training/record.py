"""The record of a training: its claim on the folder, and the card beside the finished classifier."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.face_set import FaceSet, class_counts, role
from ...runtime.claims import claim
from ...runtime.distributed import world_size
from ..backend import keras
from ..classifier import Classifier
from ..recipes import Recipe, load_recipe, recipe_names


def data_digest(faces: FaceSet, votes: np.ndarray | None, teacher: np.ndarray | Classifier | None) -> str:
    """sha256 of all that a training sees: pixels, labels, splits, label names, votes, teacher."""
    digest = hashlib.sha256()
    for part in (faces.images, faces.labels.astype(np.int64), votes, teacher):
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        elif part is not None:
            digest.update(part.sha256.encode())
    digest.update("\n".join([*faces.label_names, *role(faces.usage).tolist()]).encode())
    return digest.hexdigest()


def claim_folder(folder: Path, recipe: Recipe, digest: str, faces: FaceSet, votes: np.ndarray | None) -> None:
    """Remember in the folder what is trained there; refuse to go on with something else."""
    wanted = {
        "recipe": recipe.name,
        **{f"model.{key}": value for key, value in dataclasses.asdict(recipe.model).items()},
        **dataclasses.asdict(recipe.training),
        "labels": list(faces.label_names),
        "votes": votes is not None,
        "rows": len(faces),
        "data": digest[:16],
    }
    claim(folder / "training.json", wanted, "training")


def make_card(
    recipe: Recipe,
    faces: FaceSet,
    digest: str,
    parameters: int,
    scores: dict[str, Any],
    seconds: float,
    device: str,
) -> dict[str, Any]:
    """The contents of ``NAME.json`` as plain JSON values."""
    record = dict(faces.record)
    teacher = record.pop("teacher", None)
    card = {
        "labels": list(faces.label_names),
        "recipe": {"name": recipe.name, "title": recipe.title, "source": recipe.source, "notes": recipe.notes},
        "model": dataclasses.asdict(recipe.model),
        "settings": dataclasses.asdict(recipe.training),
        "parameters": parameters,
        "data": {"sha256": digest, "faces": class_counts(faces), "record": record},
        **({} if teacher is None else {"teacher": teacher}),
        "scores": scores,
        "short_run": recipe.name in recipe_names()
        and recipe.training.epochs < load_recipe(recipe.name).training.epochs,
        "hours": round(seconds / 3600, 2),
        "hardware": _hardware(device),
    }
    return json.loads(json.dumps(card, default=str))


def _hardware(device: str) -> dict[str, Any]:
    common = {"processes": world_size(), "torch": torch.__version__, "keras": keras.__version__}
    if device != "cpu":
        return {"device": torch.cuda.get_device_name(), **common}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {"device": name, "cores": cores, "threads": torch.get_num_threads(), **common}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
