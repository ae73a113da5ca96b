"""The second half of a shard: labels by several judges."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
from fergan.runtime.errors import DataError
from fergan.workflows.engines.shard import Labeller, Task
from fergan.workflows.run_folder.faces import Face


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


def test_a_judge_that_failed_is_not_asked_for_later_shards() -> None:
    judges: list[Any] = [_Judge(fails=False), _Judge(fails=True)]
    job: Any = SimpleNamespace(judges=(), judged=tuple(judge.record() for judge in judges))
    label = Labeller(job, judges)
    for number in range(3):
        parts = label(Task(number, (0, 1), ()), [Face(f"seed{number}.png", number)], {"any": None})  # type: ignore[dict-item]
        assert isinstance(parts[0], bytes) and parts[1] == "its network fails"
    assert [judge.asked for judge in judges] == [3, 1]
