"""Labels in any script are drawn so that they can be told apart."""

from collections.abc import Sequence

import numpy as np
import pytest
from fergan.workflows.live import text as module
from fergan.workflows.live.drawing import draw_faces

EMOTIONS = ("生气", "高兴")


def drawn(labels: Sequence[str]) -> np.ndarray:
    picture = np.zeros((240, 320, 3), np.uint8)
    draw_faces(picture, [(1, np.array([20, 40, 150]), np.array([0.9, 0.1]))], labels)
    return picture


def test_accents_are_drawn_and_nothing_is_a_question_mark() -> None:
    if not any(module._font(name, 20) for name in module.FONTS):
        pytest.skip("no font")
    assert (drawn(("wütend", "x")) != drawn(("w?tend", "x"))).any()
    assert (drawn(("wütend", "x")) != drawn(("wötend", "x"))).any()
    assert not module.escaped_labels(("wütend", "angry"))


@pytest.mark.parametrize("fonts", [module.FONTS, ()])
def test_two_labels_never_look_alike(fonts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FONTS", fonts)
    module._font_of.cache_clear()
    assert (drawn((EMOTIONS[0], "x")) != drawn((EMOTIONS[1], "x"))).any()
    if not fonts:
        assert module.escaped_labels((*EMOTIONS, "happy")) == list(EMOTIONS)
    module._font_of.cache_clear()
