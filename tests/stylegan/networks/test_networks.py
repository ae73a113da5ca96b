"""The networks against the papers' equations, written out plainly, and against finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from fergan.stylegan.networks import Discriminator, DiscriminatorConfig, StyleGAN2, channel_table
from fergan.stylegan.ops import Resampling, bias_act, modulated_conv2d, setup_filter, upfirdn2d


def normalised(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def dense(p, name, x, lr=1.0):
    return x @ p[name + ".weight"].T * (lr / math.sqrt(x.shape[1])) + p[name + ".bias"] * lr


def lrelu(x, gain=1.0, clamp=None):
    y = torch.where(x < 0, 0.2 * x, x) * math.sqrt(2) * gain
    return y if clamp is None else y.clamp(-clamp * gain, clamp * gain)


def resampled(x, up=1, down=1, pad=(0, 0)):
    """Zeros between the pixels, a border, [1 3 3 1] in both directions, every ``down``-th pixel; channel by channel."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h * up, w * up)
    wide[:, :, ::up, ::up] = x
    wide = F.pad(wide, (*pad, *pad))
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) * up / 8
    kernel = torch.outer(taps, taps)[None, None]
    rows = [torch.cat([F.conv2d(wide[i : i + 1, j : j + 1], kernel) for j in range(c)], 1) for i in range(n)]
    return torch.cat(rows)[:, :, ::down, ::down]


def styled(p, name, x, w, up):
    """Equations 1 and 3: each sample with its own weights, multiplied out."""
    out = []
    for xi, style in zip(x, dense(p, name + ".affine", w), strict=True):
        weight = p[name + ".weight"] * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up == 1:
            out.append(F.conv2d(xi[None], weight, padding=1))
        else:
            out.append(resampled(F.conv_transpose2d(xi[None], weight.transpose(0, 1), stride=2), pad=(1, 1)) * 4)
    return torch.cat(out)


def layer(p, name, x, w, up=1, gain=1.0, clamp=None):
    y = styled(p, name, x, w, up) + p[name + ".noise_const"] * p[name + ".noise_strength"]
    return lrelu(y + p[name + ".bias"][:, None, None], gain, clamp)


def drawn(p, config, ws):
    """The synthesis network of the papers; p are its parameters by name."""
    index, x, image = 0, None, None
    for r in (2**i for i in range(2, config.img_resolution.bit_length())):
        b, clamp = f"b{r}", config.conv_clamp
        resnet = config.architecture == "resnet" and r > 4
        if r == 4:
            x = layer(p, "b4.conv1", p["b4.const"].expand(len(ws), -1, -1, -1), ws[:, 0], clamp=clamp)
            index = 1
        else:
            skip = F.conv2d(x, p[f"{b}.skip.weight"] / math.sqrt(x.shape[1])) if resnet else None
            x = layer(p, f"{b}.conv0", x, ws[:, index], up=2, clamp=clamp)
            x = layer(p, f"{b}.conv1", x, ws[:, index + 1], gain=math.sqrt(0.5) if resnet else 1.0, clamp=clamp)
            x = x + resampled(skip, up=2, pad=(2, 1)) * math.sqrt(0.5) if resnet else x
            index += 2
        image = None if image is None else resampled(image, up=2, pad=(2, 1))
        if config.architecture == "skip" or r == config.img_resolution:
            style = dense(p, f"{b}.torgb.affine", ws[:, index]) / math.sqrt(x.shape[1])
            rgb = torch.einsum("nihw,oi,ni->nohw", x, p[f"{b}.torgb.weight"][:, :, 0, 0], style)
            rgb = rgb + p[f"{b}.torgb.bias"][:, None, None]
            rgb = rgb if clamp is None else rgb.clamp(-clamp, clamp)
            image = rgb if image is None else image + rgb
    return image


def judged(p, config, image, c):
    """The discriminator of the papers."""

    def convolved(name, x, gain=1.0, down=1):
        weight = p[name + ".weight"] / math.sqrt(p[name + ".weight"][0].numel())
        k = weight.shape[-1]
        bias = p.get(name + ".bias", torch.zeros(len(weight), dtype=x.dtype))[:, None, None]
        if down == 2:
            x = resampled(x, pad=(k // 2 + 1, k // 2 + 1))
            y = F.conv2d(x, weight, stride=2)
        else:
            y = F.conv2d(x, weight, padding=k // 2)
        return lrelu(y + bias, gain, config.conv_clamp) if name.split(".")[1] != "skip" else y * gain

    x, r = None, config.img_resolution
    while r > 4:
        if x is None or config.architecture == "skip":
            y = convolved(f"b{r}.fromrgb", image)
            x = y if x is None else x + y
            image = resampled(image, down=2, pad=(1, 1))
        resnet = config.architecture == "resnet"
        skip = convolved(f"b{r}.skip", x, math.sqrt(0.5), 2) if resnet else 0
        x = skip + convolved(f"b{r}.conv1", convolved(f"b{r}.conv0", x), math.sqrt(0.5) if resnet else 1.0, 2)
        r //= 2
    if config.architecture == "skip":
        x = x + convolved("b4.fromrgb", image)
    n, group = len(x), min(config.mbstd_group_size, len(x))
    statistic = torch.empty(n, 1, 4, 4, dtype=x.dtype)
    for first in range(n // group):
        members = range(first, n, n // group)
        deviation = (x[list(members)].var(0, unbiased=False) + 1e-8).sqrt().mean()
        statistic[list(members)] = deviation
    x = convolved("b4.conv", torch.cat([x, statistic], 1))
    x = dense(p, "b4.out", lrelu(dense(p, "b4.fc", x.flatten(1))))
    if config.c_dim:
        y = normalised(dense(p, "mapping.embed", c))
        for i in range(config.num_mapping_layers):
            y = lrelu(dense(p, f"mapping.fc{i}", y, 0.01))
        x = (x * y).sum(1, keepdim=True) / math.sqrt(config.cmap_dim)
    return x


def in_float64(network):
    network = network.double()
    return network, dict(network.state_dict())


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("clamp", [None, 1.0])
def test_synthesis_is_the_papers(layouts, architecture, clamp):
    network = layouts.tiny_generator(architecture=architecture, conv_clamp=clamp)
    synthesis, p = in_float64(network.synthesis)
    ws = torch.randn(2, network.num_ws, 5, dtype=torch.float64)  # another w for every layer
    with torch.no_grad():
        torch.testing.assert_close(synthesis(ws, "const"), drawn(p, network.config, ws))


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_discriminator_is_the_papers(layouts, architecture):
    network = layouts.tiny_discriminator(architecture=architecture, c_dim=3, conv_clamp=2.0)
    network, p = in_float64(network)
    images, c = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.eye(3, dtype=torch.float64).repeat(2, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(images, c), judged(p, network.config, images, c))


def test_mapping_is_the_papers_and_keeps_the_average_while_training(layouts):
    network = layouts.tiny_generator(c_dim=3, w_avg_beta=0.9)
    mapping, p = in_float64(network.mapping)
    z, c = torch.randn(4, 6, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]
    x = torch.cat([normalised(z), normalised(dense(p, "embed", c))], 1)
    w = lrelu(dense(p, "fc1", lrelu(dense(p, "fc0", x, 0.01)), 0.01))
    average = p["w_avg"].clone()
    with torch.no_grad():
        ws = mapping(z, c, truncation_psi=0.5, truncation_cutoff=2)
        torch.testing.assert_close(ws[:, 0], average + 0.5 * (w - average))
        torch.testing.assert_close(ws[:, 2:], w[:, None].expand(-1, 4, -1))
        mapping.train()(z, c)
    torch.testing.assert_close(mapping.w_avg, average * 0.9 + w.mean(0) * 0.1)


def test_gradients_agree_with_finite_differences(layouts):
    network = layouts.tiny_generator(img_resolution=8, channels=(2, 2), w_dim=3, img_channels=1)
    synthesis, _ = in_float64(network.synthesis)
    ws = torch.randn(1, network.num_ws, 3, dtype=torch.float64, requires_grad=True)
    weights = [
        synthesis.b4.const,
        synthesis.b8.conv0.weight,
        synthesis.b8.conv0.noise_strength,
        synthesis.b8.torgb.bias,
    ]

    def draw(ws, *weights):
        return synthesis(ws, "const")

    assert torch.autograd.gradcheck(draw, (ws, *weights))
    # Path-length regularisation differentiates the gradient by w once more.
    assert torch.autograd.gradgradcheck(draw, (ws, *weights), fast_mode=True)

    discriminator, _ = in_float64(layouts.tiny_discriminator(img_resolution=8, channels=(2, 2), img_channels=1))
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(discriminator, images)
    assert torch.autograd.gradgradcheck(discriminator, images, fast_mode=True)  # R1 regularisation


def test_resampling_with_any_factor_padding_and_filter():
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    kernel = torch.randn(3, 2, dtype=torch.float64)
    up, down, (left, right, top, bottom) = (3, 2), (2, 3), (2, -1, 0, 3)
    wide = x.new_zeros(2, 3, 14, 18)
    wide[:, :, ::2, ::3] = x
    wide = F.pad(wide, (left, right, top, bottom))
    full = F.conv2d(wide.reshape(6, 1, *wide.shape[2:]), kernel.flip(0, 1)[None, None]) * 1.5
    expected = full[:, :, ::3, ::2].reshape(2, 3, *full[:, :, ::3, ::2].shape[2:])
    found = upfirdn2d(x, kernel, Resampling(up, down, (left, right, top, bottom), gain=1.5))
    torch.testing.assert_close(found, expected)
    eight = setup_filter([1, 2, 3, 4, 4, 3, 2, 0.5])
    assert eight.shape == (8,)
    how = Resampling(up=(2, 2), padding=(4, 4, 4, 4), gain=4)
    wide = torch.outer(eight.double(), eight.double())
    torch.testing.assert_close(upfirdn2d(x, eight, how), upfirdn2d(x, wide, how))


def test_float16_convolutions_stay_in_range():
    """Weights and styles that would overflow are scaled down first, which demodulation undoes."""
    x, weight, styles = torch.randn(2, 64, 4, 4), torch.randn(8, 64, 3, 3) * 1e4, torch.randn(2, 64) * 1e4
    exact = modulated_conv2d(x, weight, styles)
    found = modulated_conv2d(x.half(), weight, styles)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), exact, rtol=0.01, atol=0.01 * float(exact.abs().max()))


def test_bias_act_adds_bends_scales_and_clamps_in_this_order():
    x, b = torch.tensor([[-3.0, 2.0]]), torch.tensor([1.0, 1.0])
    root = math.sqrt(2)
    torch.testing.assert_close(bias_act(x, b, activation="lrelu"), torch.tensor([[-0.4 * root, 3 * root]]))
    torch.testing.assert_close(bias_act(x, b, activation="lrelu", gain=2, clamp=1), torch.tensor([[-0.8, 1.0]]))
    x.requires_grad_()
    bias_act(x, b, activation="lrelu", gain=2, clamp=1).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.4, 0.0]]))  # what is clamped gets no gradient


@pytest.mark.parametrize(
    ("resolution", "base", "layers", "parameters", "buffers", "tensors", "of_discriminator"),
    [
        (64, 16384, 2, 22_243_608, 11_632, 94, None),
        (64, 16384, 8, 23_819_544, 11_632, 106, 23_407_649),
        (1024, 32768, 8, 30_370_060, 2_797_104, 182, 29_013_057),
    ],
)
def test_sizes_are_those_of_the_published_networks(
    layouts, resolution, base, layers, parameters, buffers, tensors, of_discriminator
):
    from fergan.stylegan.checkpoints.checkpoint import skeleton

    channels = channel_table(resolution, base)
    config = layouts.n.StyleGAN2Config(resolution, channels=channels, num_mapping_layers=layers)
    network = skeleton(StyleGAN2, config)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(b.numel() for b in network.buffers()) == buffers
    assert len(network.state_dict()) == tensors
    if of_discriminator:
        discriminator = skeleton(Discriminator, DiscriminatorConfig(resolution, channels=channels))
        # The figure that is known for discriminators counts their resampling filters too.
        assert sum(t.numel() for t in discriminator.state_dict().values()) == of_discriminator
