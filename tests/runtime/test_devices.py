"""The choice of bfloat16."""

import pytest
import torch
from fergan.runtime import devices


@pytest.mark.parametrize(("half", "faster"), [(0.6, True), (0.9, False), (1.8, False)])
def test_bfloat16_is_chosen_where_it_was_faster(monkeypatch, half, faster):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(devices, "_convolution_seconds", lambda dtype: half if dtype == torch.bfloat16 else 1.0)
    assert devices.bfloat16_is_faster() is faster


def test_bfloat16_is_not_tried_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.delattr(devices, "_convolution_seconds")
    assert devices.bfloat16_is_faster() is False
