"""CUDA graphs draw what the network draws."""

import pytest
import torch
from fergan.stylegan.synthesis.cuda_graphs import GraphedSynthesis


def test_without_a_gpu_the_network_draws(layouts):
    network = layouts.tiny_generator().synthesis
    ws = torch.randn(2, network.num_ws, 5)
    graphed = GraphedSynthesis(network)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(graphed(ws, "const"), network(ws, "const"))
    assert not graphed._graphs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_replays_are_the_network(layouts, monkeypatch, capfd):
    monkeypatch.setenv("FERGAN_OPS", "auto")
    network = layouts.tiny_generator().synthesis.cuda().requires_grad_(False)
    graphed = GraphedSynthesis(network)
    for noise_mode in ("const", "none", "random"):
        for n in (2, 3, 2, 3, 2, 2):
            ws = torch.randn(n, network.num_ws, 5, device="cuda")
            torch.manual_seed(0)
            found = graphed(ws, noise_mode)
            torch.manual_seed(0)
            assert torch.equal(found, network(ws, noise_mode))
    assert len(graphed._graphs) == 4
    assert "without CUDA graphs" not in capfd.readouterr().err
