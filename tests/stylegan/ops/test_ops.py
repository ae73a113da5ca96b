"""The operations' fast implementations against float64 references: values, gradients, gradients of gradients.

Each runs the CUDA kernels: on a GPU where there is one, and everywhere compiled as C++ with a loop for the grid
(cuda_on_cpu), which tests the same sources' arithmetic and indexing, their bindings and their gradients.
"""

import ctypes
import math
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from fergan.stylegan.networks import StyleGAN2, StyleGAN2Config
from fergan.stylegan.ops import (
    Resampling,
    bias_act,
    build,
    cuda,
    cuda_kernels,
    modulated_conv2d,
    setup_filter,
    styled_conv2d,
    upfirdn2d,
)
from fergan.stylegan.ops.bias_act import ACTIVATIONS, bias_act_reference
from fergan.stylegan.ops.modulated_conv2d import modulated_conv2d_reference
from fergan.stylegan.ops.upfirdn2d import upfirdn2d_reference

HERE = Path(__file__).resolve().parent
# Half a unit of the last place, a few times over; float16 also loses what its intermediate sums lose.
TOLERANCE = {torch.float16: 4e-3, torch.float32: 5e-6, torch.float64: 1e-13}
DTYPES = list(TOLERANCE)


@pytest.fixture(scope="session")
def kernels_on_cpu(tmp_path_factory):
    if not (compiler := shutil.which("g++")):
        pytest.skip("no g++ here to compile the CUDA kernels for the CPU with; install g++ to run this test")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    sources = [str(source) for source in sorted((build.CSRC / "cuda").glob("*.cu"))]
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    command = [compiler, *flags, "-I", str(HERE.parent / "cuda_on_cpu"), "-x", "c++", *sources, "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"])
def device(request, monkeypatch):
    """Where the kernels run; the public functions use them there."""
    monkeypatch.setenv("FERGAN_OPS", "auto")
    if request.param == "cuda":
        assert build.library("cuda"), build.why_not("cuda")
        return "cuda"
    monkeypatch.setitem(build._loaded, "cuda", request.getfixturevalue("kernels_on_cpu"))
    monkeypatch.setattr(cuda, "takes", lambda x, *others: x.dtype in cuda_kernels.DTYPES)
    return "cpu"


@pytest.fixture
def launches(monkeypatch):
    """The kernels that were started."""
    names, start = [], cuda_kernels.launch_kernel

    def launch(name, *arguments):
        names.append(name)
        start(name, *arguments)

    monkeypatch.setattr(cuda_kernels, "launch_kernel", launch)
    return names


def laid_out(x, last):
    return x.contiguous(memory_format=torch.channels_last) if last else x


def derivatives(function, tensors, weigh):
    """The value; its gradients; and the gradients of those gradients' squares, by all that requires one."""
    value = function(*tensors)
    asked = [t for t in tensors if t is not None and t.requires_grad]
    first = torch.autograd.grad((value * weigh.to(value)).sum(), asked, create_graph=True)
    squares = [g.square().sum() for g in first if g.requires_grad]
    second = torch.autograd.grad(sum(squares), asked, allow_unused=True) if squares else [None] * len(asked)
    return value, first, [torch.zeros_like(t) if g is None else g for g, t in zip(second, asked, strict=True)]


def compare(fast, exact, tensors, dtype, device, last=False, orders=3):
    """``fast`` in ``dtype`` on ``device`` against ``exact`` in float64 on the CPU, for the same rounded tensors."""
    rounded = [None if t is None else t.to(dtype).double() for t in tensors]
    with torch.no_grad():
        weigh = torch.randn_like(exact(*rounded))
    wide = [None if t is None else t.requires_grad_() for t in rounded]
    narrow = [None if t is None else t.detach().to(device, dtype) for t in rounded]
    narrow[0] = laid_out(narrow[0], last)
    narrow = [None if t is None else t.requires_grad_() for t in narrow]
    wanted, found = derivatives(exact, wide, weigh), derivatives(fast, narrow, weigh.to(device))
    assert found[0].dtype == dtype
    for order, (of_order, exact_of_order) in enumerate(zip(found[:orders], wanted, strict=False)):
        pairs = zip(of_order, exact_of_order, strict=True) if order else [(of_order, exact_of_order)]
        for one, other in pairs:
            limit = TOLERANCE[dtype] * 4**order * max(1.0, float(other.detach().abs().max()))
            assert float((one.detach().cpu().double() - other.detach()).abs().max()) <= limit, f"order {order}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bias_act(device, launches, activation, dtype):
    torch.manual_seed(0)
    # Sizes that fill packs of 16 bytes and sizes that do not.
    for shape in [(2, 8, 4, 6), (2, 3, 5, 7), (3, 16), (5, 3), (4, 3, 8), (2, 3, 4, 8)]:
        for last in [False, True] if len(shape) == 4 else [False]:
            clamp = random.Random(str(shape)).choice([None, 0.7])
            x, b = torch.randn(shape) * 2, torch.randn(shape[1])
            settings = {"activation": activation, "clamp": clamp, "gain": 1.25}

            def fast(x, b, settings=settings):
                return bias_act(x, b, **settings)

            def exact(x, b, settings=settings):
                return bias_act_reference(x, b, **settings)

            compare(fast, exact, [x, b], dtype, device, last)
            compare(fast, exact, [x, None], dtype, device, last)
    assert set(launches) == {"fergan_bias_act"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bias_act_treats_extremes_as_pytorch_does(device, activation):
    x = torch.tensor([[math.nan, math.inf, -math.inf, 0.0, -0.0, 1e4, -1e4, 88.0]])
    for clamp in (None, 2.0):
        exact = bias_act_reference(x, activation=activation, clamp=clamp)
        found = bias_act(x.to(device), activation=activation, clamp=clamp).cpu()
        torch.testing.assert_close(found, exact, equal_nan=True)


def test_gradients_agree_with_finite_differences(device):
    torch.manual_seed(0)
    x, b = torch.randn(2, 3, 4, 4, dtype=torch.float64, device=device, requires_grad=True), torch.randn(3).to(device)
    b = b.double().requires_grad_()
    for activation in ACTIVATIONS:

        def act(x, b, activation=activation):
            return bias_act(x, b, activation=activation, clamp=3.0)

        assert torch.autograd.gradcheck(act, (x, b), fast_mode=True)
        assert torch.autograd.gradgradcheck(act, (x, b), fast_mode=True)
    for how in (
        Resampling(up=(2, 2), padding=(2, 1, 2, 1)),
        Resampling(down=(2, 2), padding=(1, 1, 1, 1)),
        Resampling(padding=(1, 2, 3, 0)),
    ):

        def resample(x, how=how):
            return upfirdn2d(x, setup_filter([1, 2, 3, 4]).to(device), how)

        assert torch.autograd.gradcheck(resample, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(resample, x, fast_mode=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
def test_upfirdn2d_with_the_filters_of_stylegan2(device, launches, dtype, last):
    """4x4, not symmetric; up or down by 2 or neither; widths that end within a tile."""
    torch.manual_seed(0)
    kernel = torch.randn(4, 4)
    for channels, (h, w) in [(4, (9, 5)), (8, (4, 17)), (3, (6, 6)), (1, (16, 3))]:
        for how in (
            Resampling(up=(2, 2), padding=(2, 1, 2, 1), gain=4),
            Resampling(up=(2, 2), padding=(1, 2, 3, 0)),  # odd: the general kernel
            Resampling(down=(2, 2), padding=(1, 1, 1, 1)),
            Resampling(down=(2, 2), padding=(2, 0, -1, 3), flip=True),
            Resampling(padding=(1, 1, 1, 1), gain=4),
            Resampling(padding=(-1, 3, 2, 0), flip=True),
        ):
            compare(
                lambda x, how=how: upfirdn2d(x, kernel.to(device), how),
                lambda x, how=how: upfirdn2d_reference(x, kernel, how),
                [torch.randn(2, channels, h, w)],
                dtype,
                device,
                last,
            )
    assert set(launches) == {"fergan_upfirdn2d"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_upfirdn2d_with_any_filter_and_factor(device, dtype):
    for seed in range(25):
        draw = random.Random(seed)
        torch.manual_seed(seed)
        taps = (draw.randint(1, 6), draw.randint(1, 6)) if draw.random() < 0.7 else (draw.randint(1, 12),)
        kernel = torch.randn(taps) / math.prod(taps) ** 0.5
        how = Resampling(
            up=(draw.randint(1, 3), draw.randint(1, 4)),
            down=(draw.randint(1, 3), draw.randint(1, 3)),
            padding=tuple(draw.randint(-1, 5) for _ in range(4)),
            flip=draw.random() < 0.5,
            gain=draw.choice([1, 4, 0.5]),
        )
        x = torch.randn(draw.randint(1, 3), draw.randint(1, 5), draw.randint(13, 16), draw.randint(13, 16))
        compare(
            lambda x, kernel=kernel, how=how: upfirdn2d(x, kernel.to(device), how),
            lambda x, kernel=kernel, how=how: upfirdn2d_reference(x, kernel, how),
            [x],
            dtype,
            device,
            last=draw.random() < 0.5,
        )


@pytest.mark.parametrize(("size", "padding", "flip"), [((8, 8), (1, 1, 1, 1), False), ((7, 9), (2, 1, 0, 3), True)])
def test_the_adjoint_of_a_decimation_is_the_gradient_of_the_reference(size, padding, flip):
    kernel = torch.rand(4, 3, dtype=torch.float64)
    x = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    how = Resampling((1, 2), (2, 2), padding, flip, 1.7)
    assert torch.autograd.gradgradcheck(lambda x: upfirdn2d(x, kernel, how), x)
    results = [function(x, kernel, how) for function in (upfirdn2d, upfirdn2d_reference)]
    assert torch.equal(*results)
    weigh = torch.rand_like(results[0])
    found, wanted = (torch.autograd.grad((result * weigh).sum(), x)[0] for result in results)
    assert torch.allclose(found, wanted, rtol=1e-12)


def test_upfirdn2d_refuses_what_leaves_no_pixel(device):
    with pytest.raises(RuntimeError, match="too small"):
        upfirdn2d(torch.ones(1, 1, 2, 2, device=device), torch.ones(4, 4, device=device), Resampling())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_styled_convolution(device, launches, dtype, up, last):
    kernel = setup_filter([1, 3, 3, 1])
    for seed, (n, i, o, r) in enumerate([(2, 3, 4, 4), (1, 8, 8, 5), (3, 4, 16, 3)]):
        for maps in (None, 1, n):
            torch.manual_seed(seed)
            noise = (
                None
                if maps is None
                else torch.randn(r * up, r * up)
                if maps == 1
                else torch.randn(n, 1, r * up, r * up)
            )
            x, weight, styles, bias = (
                torch.randn(n, i, r, r),
                torch.randn(o, i, 3, 3),
                torch.randn(n, i),
                torch.randn(o),
            )

            def fast(x, weight, styles, bias, noise):
                return styled_conv2d(x, weight, styles, bias, up=up, kernel=kernel.to(device), noise=noise, clamp=2.5)

            def exact(x, weight, styles, bias, noise):
                y = modulated_conv2d_reference(x, weight, styles, up=up, kernel=kernel.double(), noise=noise)
                return bias_act_reference(y, bias, activation="lrelu", clamp=2.5)

            tensors = [x, weight, styles, bias, noise]
            if dtype != torch.float16:
                compare(fast, exact, tensors, dtype, device, last)
            # Without gradients, the filter and what follows are one kernel.
            with torch.no_grad():
                del launches[:]
                half = [None if t is None else t.to(device, dtype) for t in tensors]
                found = fast(laid_out(half[0], last), *half[1:]).cpu().double()
                wide = exact(*(None if t is None else t.to(dtype).double() for t in tensors))
                assert float((found - wide).abs().max()) <= TOLERANCE[dtype] * 4
            fused = up == 2 and (not last or o % (2 if dtype == torch.float64 else 4) == 0)
            assert launches == ["fergan_bias_act", "fergan_upfirdn2d" if fused else "fergan_bias_act"]


def test_modulated_convolutions_without_an_activation(device, launches):
    torch.manual_seed(0)
    x, weight, styles = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.randn(2, 4)
    kernel = setup_filter([1, 2, 3, 4, 4, 3, 2, 1])  # two passes
    for up in (1, 2):
        compare(
            lambda *tensors, up=up: modulated_conv2d(*tensors, up=up, kernel=kernel.to(device)),
            lambda *tensors, up=up: modulated_conv2d_reference(*tensors, up=up, kernel=kernel.double()),
            [x, weight, styles],
            torch.float64,
            device,
        )
    assert launches
    for last in (False, True):
        compare(
            lambda *tensors: modulated_conv2d(*tensors, demodulate=False),
            lambda *tensors: modulated_conv2d_reference(*tensors, demodulate=False),
            [x, torch.randn(3, 4, 1, 1), styles],
            torch.float64,
            device,
            last,
        )


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_a_whole_network_and_its_path_length_gradient(device, launches, architecture, monkeypatch):
    torch.manual_seed(0)
    config = StyleGAN2Config(32, w_dim=8, channels=(8, 8, 12, 6), architecture=architecture, conv_clamp=4.0)
    synthesis = StyleGAN2(config).synthesis.double()
    for name, parameter in synthesis.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    ws = torch.randn(2, config.num_ws, 8, dtype=torch.float64)

    def lengths(synthesis, ws):
        image = synthesis(ws, "const")
        (gradient,) = torch.autograd.grad(image.square().sum(), ws, create_graph=True)
        parameters = [p for p in synthesis.parameters() if p.ndim]
        return [image, gradient, *torch.autograd.grad(gradient.square().mean(), parameters, allow_unused=True)]

    monkeypatch.setenv("FERGAN_OPS", "auto")
    fast = lengths(synthesis.to(device), ws.to(device).requires_grad_())
    assert len(launches) > 30
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "takes", lambda *tensors: False)
        exact = lengths(synthesis.cpu(), ws.requires_grad_())
    for one, other in zip(fast, exact, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one.detach().cpu(), other.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.gpu
def test_more_than_2_31_elements():
    if not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < 20e9:
        pytest.skip("no GPU with 20 GB free here")
    x = torch.zeros(1, 2, 2**15, 2**15 + 8, dtype=torch.float16, device="cuda")
    x[0, 1, -1, -1] = 3
    b = torch.tensor([1.0, 2.0], device="cuda")
    assert float(bias_act(x, b)[0, 1, -1, -1]) == 5
    assert float(upfirdn2d(x, torch.ones(4, 4, device="cuda"), Resampling(padding=(3, 0, 3, 0)))[0, 1, -1, -1]) == 3


def test_the_reference_is_forced_by_the_environment(kernels_on_cpu, monkeypatch):
    from fergan.runtime.errors import UsageError

    monkeypatch.setitem(build._loaded, "cuda", kernels_on_cpu)
    monkeypatch.setenv("FERGAN_OPS", "auto")
    assert build.library("cuda") is kernels_on_cpu
    assert build.why_not("cuda") is None
    monkeypatch.setenv("FERGAN_OPS", "reference")
    assert build.library("cuda") is None
    assert build.why_not("cuda") == "FERGAN_OPS=reference"
    monkeypatch.setenv("FERGAN_OPS", "fast")
    with pytest.raises(UsageError, match="FERGAN_OPS=fast is neither auto nor reference"):
        build.library("cuda")


def test_kernels_that_disagree_with_pytorch_are_not_trusted(device, monkeypatch, capsys):
    place = torch.device(device)
    assert cuda.disagreement(place) is None
    start = cuda_kernels.launch_kernel

    def off_by_a_little(name, arguments, x):
        arguments.gain *= 1.001
        start(name, arguments, x)

    monkeypatch.setattr(cuda_kernels, "launch_kernel", off_by_a_little)
    cuda._trusted.cache_clear()
    assert "off by" in cuda.disagreement(place)
    assert not cuda._trusted(place)
    assert "PyTorch's operations run" in capsys.readouterr().err

    def fail(name, arguments, x):
        raise RuntimeError("fergan_bias_act was not launched: CUDA error 209")

    monkeypatch.setattr(cuda_kernels, "launch_kernel", fail)
    assert "CUDA error 209" in cuda.disagreement(place)
    cuda._trusted.cache_clear()
