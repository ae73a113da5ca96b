"""The CPU kernels draw what the network draws."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from fergan.stylegan.generator import Generator
from fergan.stylegan.ops import build
from fergan.stylegan.synthesis import cpu_kernels as cpu
from fergan.stylegan.synthesis.cpu import CPUSynthesis, supports

TOLERANCE = 5e-6  # of the image's range

NETWORKS = {
    "few channels": {"channels": (5, 4, 3)},
    "clamped, channels of all kinds": {"img_resolution": 32, "channels": (33, 48, 17, 40), "conv_clamp": 0.7},
    "gray, one ToRGB": {"architecture": "orig", "img_channels": 1, "channels": (20, 16, 8)},
    "no noise, four image channels, 4 px": {
        "img_resolution": 4,
        "use_noise": False,
        "img_channels": 4,
        "channels": (7,),
    },
    "long enough for blocks of tiles": {"img_resolution": 64, "w_dim": 35, "channels": (64, 64, 48, 36, 20)},
}


@pytest.fixture(params=cpu.INSTRUCTION_SETS)
def kernels(request):
    if build.library("cpu") is not None and cpu.kernels(request.param) is None:
        pytest.skip(f"this processor has no {request.param}")
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def network(layouts):
    return layouts.tiny_generator(img_resolution=32, channels=(20, 18, 16, 6)).synthesis


def styles(network, n=2, seed=0):
    w_dim = network.b4.conv1.affine.weight.shape[1]
    return torch.from_numpy(np.random.RandomState(seed).randn(n, network.num_ws, w_dim)).float()


def forbidden(*args):
    raise AssertionError("the network itself was asked to draw")


def fast(network, kernels="auto"):
    """The kernels' drawing, which must be theirs."""
    if build.library("cpu") is None:
        pytest.skip(f"no C++ operations: {build.why_not('cpu')}")
    network = copy.deepcopy(network)
    network.forward = forbidden
    return CPUSynthesis(network, kernels)


def assert_close(ours, reference):
    assert ours.shape == reference.shape and ours.dtype == torch.float32
    assert (ours - reference).abs().max() <= TOLERANCE * (reference.max() - reference.min())


@pytest.mark.parametrize("noise_mode", ["const", "none"])
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_images_are_those_of_the_network_in_float64(layouts, settings, noise_mode, kernels, threads):
    network = layouts.tiny_generator(**settings).synthesis.requires_grad_(False)
    ws = styles(network)
    reference = copy.deepcopy(network).double()(ws.double(), noise_mode)
    assert_close(fast(network, kernels)(ws, noise_mode), reference)


@pytest.mark.parametrize("own_generators", [False, True])
def test_random_noise_is_the_same_numbers(network, own_generators):
    def draw(synthesis):
        torch.manual_seed(5)
        generators = [torch.Generator().manual_seed(seed) for seed in (8, 9, 8)] if own_generators else None
        with torch.no_grad():
            return synthesis(ws, "random", generators)

    ws = styles(network, 1).repeat(3, 1, 1)
    reference, ours = draw(network), draw(fast(network))
    assert_close(ours, reference)
    assert not torch.allclose(ours[0], ours[1], atol=1e-3)
    assert torch.equal(ours[0], ours[2]) == own_generators


def test_bytes_depend_neither_on_the_batch_nor_on_threads(layouts, kernels):
    network = layouts.tiny_generator(img_resolution=64, channels=(32, 40, 32, 24, 16)).synthesis
    synthesis, ws, before = fast(network, kernels), styles(network, 3), torch.get_num_threads()
    together = synthesis(ws, "const")
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert torch.equal(synthesis(ws[1:2], "const")[0], together[1])
    finally:
        torch.set_num_threads(before)


def test_callers_in_several_threads(network):
    synthesis, ws = fast(network), styles(network, 6)
    expected, drawn = synthesis(ws, "const"), [None] * 6

    def draw(i):
        for _ in range(5):
            drawn[i] = synthesis(ws[i : i + 1], "const")[0]

    workers = [threading.Thread(target=draw, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert torch.equal(torch.stack(drawn), expected)


@pytest.mark.parametrize(
    "settings", [{"architecture": "resnet"}, {"resample_filter": (1, 2, 1)}, {"resample_filter": (1, 1, 1, 1)}]
)
def test_what_the_kernels_do_not_know_is_left_to_the_network(layouts, settings):
    network = layouts.tiny_generator(**settings).synthesis
    assert not supports(network)
    ws = styles(network)
    with torch.no_grad():
        assert torch.equal(CPUSynthesis(network)(ws, "const"), network(ws, "const"))


def test_a_generator_uses_them_unless_told_not_to(layouts, monkeypatch):
    generator = Generator(layouts.tiny_generator(img_resolution=32, channels=(20, 18, 16, 6)))
    network, ws = generator.network.synthesis, styles(generator.network.synthesis)
    with torch.no_grad():
        reference = network(ws, "const")
    if cpu.kernels() is not None:
        with monkeypatch.context() as patch:
            patch.setattr(network, "forward", forbidden)
            assert_close(generator.synthesis(ws), reference)
    monkeypatch.setenv("FERGAN_OPS", "reference")
    assert torch.equal(generator.synthesis(ws), reference)


def test_it_can_be_copied_and_sent(network):
    synthesis, ws = CPUSynthesis(network), styles(network)
    expected = synthesis(ws, "const")
    for other in (copy.deepcopy(synthesis), pickle.loads(pickle.dumps(synthesis))):
        assert torch.equal(other(ws, "const"), expected)


def test_wrong_requests(network):
    synthesis, ws = CPUSynthesis(network), styles(network)
    with pytest.raises(ValueError, match="shape"):
        synthesis(ws[:, 1:], "const")
    with pytest.raises(ValueError, match="loud"):
        synthesis(ws, "loud")
    assert synthesis(ws[:0], "const").shape == (0, 3, 32, 32)
