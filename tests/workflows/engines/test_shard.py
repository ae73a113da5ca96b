"""The halves of a shard: pictures that are not all held at once, and labels by several judges."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from fergan.data.faces import Preparation
from fergan.data.images import read_image
from fergan.runtime.errors import DataError
from fergan.workflows.engines.shard import Labeller, Maker, Task
from fergan.workflows.run_folder.faces import Face, FacePlan
from fergan.workflows.run_folder.pictures import tar_members
from fergan.workflows.steps.judge import prepare, prepare_each


class _Judge:
    preparation = "any"

    def __init__(self, fails: bool) -> None:
        self.fails, self.asked = fails, 0

    def record(self) -> Any:
        return SimpleNamespace(differences=lambda other: {})

    def label(self, faces: Any, prepared: Any, skipped: Any = None) -> pd.DataFrame:
        self.asked += 1
        if self.fails:
            raise DataError("its network fails")
        return pd.DataFrame({"name": [face.name for face in faces]})


class _Faces:
    """Pictures of noise; ``most`` is how many were alive at once."""

    faces = FacePlan(range(1_000_000))
    record = SimpleNamespace()

    def __init__(self) -> None:
        self.alive = self.most = 0

    def draw(self, faces: Sequence[Face]) -> Iterator[np.ndarray]:
        for face in faces:
            picture = np.random.default_rng(face.seed).integers(0, 256, (9, 8, 3), np.uint8)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(picture, self._gone)
            yield picture

    def _gone(self) -> None:
        self.alive -= 1


def test_a_large_shard_is_made_and_prepared_with_few_of_its_pictures_in_memory(tmp_path: Path) -> None:
    faces, ways = _Faces(), (Preparation("detect"), Preparation("ffhq"))
    made: Any = SimpleNamespace(differences=lambda other: {})
    job: Any = SimpleNamespace(made=made, preparations=ways, store=str(tmp_path))
    views = Maker(job, faces)(Task(1, (0, 1), ("faces-000001.tar",)))  # type: ignore[arg-type]
    assert faces.most <= 130
    expected = list(_Faces().draw(faces.faces[512:1024]))
    for way in ways:
        whole = prepare(expected, way)
        assert np.array_equal(views[way].faces, whole.faces)
        assert np.array_equal(views[way].found, whole.found)  # type: ignore[arg-type]
    members = tar_members((tmp_path / "faces/faces-000001.tar").read_bytes())
    assert all(np.array_equal(read_image(one), other) for one, other in zip(members, expected, strict=True))
    assert prepare_each([], ways)[ways[0]].faces.shape == (0, 48, 48)


def test_a_judge_that_failed_is_not_asked_for_later_shards() -> None:
    judges: list[Any] = [_Judge(fails=False), _Judge(fails=True)]
    job: Any = SimpleNamespace(judges=(), judged=tuple(judge.record() for judge in judges))
    label = Labeller(job, judges)
    for number in range(3):
        parts = label(Task(number, (0, 1), ()), [Face(f"seed{number}.png", number)], {"any": None})  # type: ignore[dict-item]
        assert isinstance(parts[0], bytes) and parts[1] == "its network fails"
    assert [judge.asked for judge in judges] == [3, 1]
