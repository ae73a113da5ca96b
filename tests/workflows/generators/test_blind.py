"""The page of a blind comparison."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fergan.runtime.errors import UsageError
from fergan.stylegan.generator import load_generator
from fergan.workflows.generators.blind import PAIRS, write_blind_page
from PIL import Image

from ..conftest import Invoke

A, B = "dcgan-fer2013-48", "stylegan2-faces-64"


def test_each_pair_holds_one_face_of_each_on_the_side_that_it_says(tmp_path: Path) -> None:
    write_blind_page(tmp_path / "blind.html", (A, B), None, None, 7, "cpu")
    text = (tmp_path / "blind.html").read_text()
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert data["names"] == [A, B]
    assert len(data["pictures"]) == PAIRS and sum(data["first_is_left"]) == PAIRS / 2
    assert A not in text.replace(json.dumps(A), "")  # in the data alone
    gray = load_generator(A, device="cpu").generate(range(7, 7 + PAIRS)).astype(int)
    matched = set()
    for pair, left in zip(data["pictures"], data["first_is_left"], strict=True):
        images = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in pair]
        assert [image.size for image in images] == ([(48, 48), (64, 64)] if left else [(64, 64), (48, 48)])
        shown = np.asarray(images[0 if left else 1].convert("L")).astype(int)
        matched.add(int(np.abs(gray[..., 0] - shown).mean(axis=(1, 2)).argmin()))
    assert len(matched) == PAIRS  # every seed once


def test_a_missing_folder_is_told_before_faces_are_drawn(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fergan.workflows.generators.blind.write_blind_page", None)
    done = invoke("metrics", "--blind", A, B, "--out", "gone/blind.html")
    assert done.returncode == 1 and "gone/blind.html: cannot be written: its folder does not exist" in done.stderr


def test_a_generator_is_not_compared_with_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both are the same generator"):
        write_blind_page(tmp_path / "blind.html", (A, A), None, None, 0, "cpu")
