"""Starting a training from networks that there are, of its own resolution or of a lower one (growing)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from ...runtime.errors import DataError, UsageError
from ...runtime.files import printable, write_atomically
from ..checkpoints import read_checkpoint
from ..networks import Discriminator, StyleGAN2, StyleGAN2Config, resolutions
from ..networks.discriminator import ConvLayer

STATE_FILE = "training-state.pt"
DISCRIMINATOR_FILE = "discriminator.safetensors"
DISCRIMINATOR_FORMAT = "fergan.discriminator/1"


@dataclass(frozen=True)
class Start:
    """Networks to start from.

    Attributes:
        config: of the generator.
        generator: its state dict.
        discriminator: state dict, or None where there is none.
    """

    config: StyleGAN2Config
    generator: Mapping[str, torch.Tensor]
    discriminator: Mapping[str, torch.Tensor] | None


def read_start(path: Path) -> Start:
    """The networks of a checkpoint of any kind, or those that lie beside a training's state.

    A generator of ours takes along the ``discriminator.safetensors`` that lies in its folder. A state itself is not
    opened: each snapshot writes its networks beside it, in files that hold data alone.

    Raises:
        CheckpointError, DataError: the file cannot be used.
        UsageError: it is not a StyleGAN2.
    """
    if path.name == STATE_FILE:
        path = path.with_name("generator.safetensors")
        if not path.exists():
            raise DataError(
                f"--init: {printable(path)} is missing, the networks of {STATE_FILE} beside it; give a generator's file"
            )
    checkpoint = read_checkpoint(path)
    network = checkpoint.generator
    if not isinstance(network, StyleGAN2):
        raise UsageError(f"--init {path}: is not a StyleGAN2")
    discriminator = path.with_name(DISCRIMINATOR_FILE)
    if checkpoint.format == "fergan" and discriminator.exists():
        return Start(network.config, network.state_dict(), _read_discriminator(discriminator))
    found = checkpoint.discriminator
    return Start(network.config, network.state_dict(), None if found is None else found.state_dict())


def grown(start: StyleGAN2Config, wanted: StyleGAN2Config) -> StyleGAN2Config:
    """The configuration of a training that starts from ``start``: its own, with the blocks that ``wanted`` has beyond.

    What computes in float16 is what ``wanted`` says, with activations clamped if either says so.

    Raises:
        UsageError: the start draws larger images, or others.
    """
    for field in ("img_channels", "c_dim"):
        found, needed = getattr(start, field), getattr(wanted, field)
        if found != needed:
            raise UsageError(f"--init: has {field} {found}, but this training has {needed}")
    if start.img_resolution > wanted.img_resolution:
        raise UsageError(
            f"--init: draws {start.img_resolution} pixels, but this training {wanted.img_resolution}; "
            "a training can start from the same resolution or a lower one"
        )
    if start.img_resolution < wanted.img_resolution and start.architecture != "skip":
        raise UsageError(f"--init: its architecture is {start.architecture}, and only skip generators can grow")
    channels = (*start.channels, *wanted.channels[len(start.channels) :])
    return dataclasses.replace(
        start,
        img_resolution=wanted.img_resolution,
        channels=channels,
        num_fp16_res=wanted.num_fp16_res,
        conv_clamp=start.conv_clamp or wanted.conv_clamp,
    )


def take_over(start: Start, generator: StyleGAN2, discriminator: Discriminator) -> bool:
    """Fill networks of configuration :func:`grown` with what they share with the start.

    A block of a new resolution begins with a ToRGB of zeros, so that the generator's first images are the enlarged ones
    of the start (the "skip" of Karras et al. 2019, arXiv:1912.04958, replaces fading in).

    Returns:
        whether the discriminator was taken over too: it was there, and its shapes fit.
    """
    _fill(generator, start.generator)
    with torch.no_grad():
        for resolution in resolutions(generator.config.img_resolution)[len(start.config.channels) :]:
            torgb = getattr(generator.synthesis, f"b{resolution}").torgb
            torgb.weight.zero_()
    if start.discriminator is None:
        return False
    own = discriminator.state_dict()
    shared = {name: value for name, value in start.discriminator.items() if name in own}
    fits = all(own[name].shape == value.shape for name, value in shared.items())
    lowest = [name for name in own if name.startswith("b4.")]
    if not fits or not all(name in shared for name in lowest):
        return False
    _fill(discriminator, shared)
    _look_through(discriminator, start.discriminator, start.config.img_resolution)
    return True


@torch.no_grad()
def _look_through(discriminator: Discriminator, start: Mapping[str, torch.Tensor], seen: int) -> None:
    """Let blocks above the resolution ``seen`` pass the halved image on, so that D says at first what the start said.

    With random blocks in front, the taken-over ones see noise and D has to begin anew. A leaky ReLU of slope 0.2 keeps
    a colour x in two channels: lrelu(x) - lrelu(-x) = 1.2 x. Convolutions carry such pairs in their centre tap; the
    last new one repeats the FromRGB of the start on them. All other channels stay random and learn.

    Only for residual discriminators, the ones that training makes.
    """
    config, name = discriminator.config, f"b{seen}.fromrgb"
    colours = config.img_channels
    new = [r for r in resolutions(config.img_resolution) if r > seen][::-1]
    narrow = min(getattr(discriminator, f"b{r}").conv0.weight.shape[0] for r in new) if new else 0
    if config.architecture != "resnet" or f"{name}.weight" not in start or narrow < 2 * colours:
        return
    from_rgb = start[f"{name}.weight"][:, :, 0, 0] / math.sqrt(colours)
    pairs = torch.kron(torch.eye(colours), torch.tensor([[1.0], [-1.0]]))  # [2 colours, colours]
    top = getattr(discriminator, f"b{new[0]}").fromrgb
    top.weight[: len(pairs), :, 0, 0] = pairs / top.weight_gain
    top.bias[: len(pairs)] = 0
    scale = math.sqrt(2)  # of the pairs that come in: a layer's gain
    for r in new:
        block = getattr(discriminator, f"b{r}")
        _pass_on(block.conv0, pairs @ pairs.t() / (1.2 * scale))
        colour = pairs.t() / (1.2 * math.sqrt(2))
        if r == new[-1]:  # the block's gain of sqrt(1/2) is made up for before the activation
            block.conv1.weight.zero_()
            _pass_on(block.conv1, math.sqrt(2) * from_rgb @ colour)
            block.conv1.bias.copy_(math.sqrt(2) * start[f"{name}.bias"])
        else:
            _pass_on(block.conv1, pairs @ colour)
        block.skip.weight.zero_()
        scale = 1.0


def _pass_on(layer: ConvLayer, matrix: torch.Tensor) -> None:
    """The first output channels [M] become ``matrix`` [M, N] times the first inputs, place by place, without a bias."""
    rows, columns = matrix.shape
    layer.weight[:rows] = 0
    layer.weight[:rows, :columns, 1, 1] = matrix / layer.weight_gain
    layer.bias[:rows] = 0


def save_discriminator(path: Path, discriminator: Discriminator) -> None:
    """Write weights in float32; what stands at ``path`` is replaced in one step."""
    header = {"format": DISCRIMINATOR_FORMAT}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in discriminator.state_dict().items()}
    write_atomically(path, save(tensors, {"fergan": json.dumps(header)}))


def _read_discriminator(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {})["fergan"])
        if header["format"] != DISCRIMINATOR_FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        return load_file(str(path))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as a discriminator ({error}); delete it to start with a fresh one"
        ) from error


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    own = network.state_dict()
    own.update({name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape})
    network.load_state_dict(own)
