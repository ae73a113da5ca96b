"""StyleGAN2 synthesis on a CPU, one face at a time, by the kernels of ``ops/csrc/cpu``.

:class:`..networks.SynthesisNetwork` defines the result. The kernels reach it with fewer multiplications and far less
traffic between memory and processor; ``ops/csrc/cpu/kernels.h`` says how.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..networks import SynthesisLayer, SynthesisNetwork
from ..ops import setup_filter
from . import cpu_kernels as cpu

NoiseMaps = list[torch.Tensor | None]  # [R, R] for each convolution; None = no noise


class CPUSynthesis:
    """Stands in for a synthesis network that only draws, and draws the same images faster.

    Where the kernels cannot draw (see :func:`supports`) or are not there (no compiler, ``FERGAN_OPS=reference``), the
    network itself does. Otherwise the images are the network's but for rounding, and their bytes depend neither on the
    batch nor on the number of threads.

    The first face waits until the weights are transformed; changes of the network's tensors are not seen after that.
    The transformed weights take four times the memory of the network's own; the memory that a face is drawn in is kept
    for the next. Calls from several threads wait for one another.

    Args:
        network: of any kind; its weights stay as they are.
        instruction_set: of :data:`.cpu_kernels.INSTRUCTION_SETS`, or ``auto``: the best of this processor.
    """

    def __init__(self, network: SynthesisNetwork, instruction_set: str = "auto") -> None:
        self.network, self.instruction_set = network, instruction_set
        self._supported = supports(network)
        self._prepared: _PreparedNetwork | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[CPUSynthesis], tuple[SynthesisNetwork, str]]:
        return CPUSynthesis, (self.network, self.instruction_set)

    @torch.inference_mode()
    def __call__(
        self,
        ws: torch.Tensor,
        noise_mode: str = "random",
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Draw images, float32 [N, C, R, R], of styles float32 [N, num_ws, w_dim]; noise as the network takes it."""
        if ws.dtype == torch.float32 and ws.device.type == "cpu":
            with self._lock:
                prepared = self._ready()
                if prepared is not None:
                    return _draw(prepared, ws, noise_mode, noise_generators)
        return self.network(ws, noise_mode, noise_generators)

    def _ready(self) -> _PreparedNetwork | None:
        """The prepared network; None where the kernels cannot draw it."""
        kernels = cpu.kernels(self.instruction_set)
        if kernels is None or not self._supported:
            return None
        if self._prepared is None:
            self._prepared = _PreparedNetwork(self.network, kernels)
        return self._prepared


def supports(network: SynthesisNetwork) -> bool:
    """Whether the kernels can draw this network.

    That is: architecture skip or orig, the filter [1, 3, 3, 1], at most four image channels, float32 on the CPU.
    """
    blocks = _blocks(network)
    usual = setup_filter([1, 3, 3, 1])
    return (
        all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in network.state_dict().values())
        and all(block.architecture in ("skip", "orig") for block in blocks)
        and all(block.resample_filter.shape == usual.shape for block in blocks)
        and all(torch.allclose(block.resample_filter, usual, rtol=1e-6, atol=0) for block in blocks)
        and len(blocks[-1].torgb.bias) <= cpu.IMAGE_LANES
    )


def _draw(
    prepared: _PreparedNetwork, ws: torch.Tensor, noise_mode: str, generators: Sequence[torch.Generator] | None
) -> torch.Tensor:
    if ws.shape[1:] != (prepared.num_ws, prepared.w_dim):
        raise ValueError(f"ws has shape {tuple(ws.shape)}, where [N, {prepared.num_ws}, {prepared.w_dim}] is needed")
    images = torch.empty(len(ws), prepared.image_channels, prepared.resolution, prepared.resolution)
    noises = _noises(prepared.convolutions, len(ws), noise_mode, generators)
    for w, noise, image in zip(ws.contiguous(), noises, images, strict=True):
        prepared.draw(w, noise, image)
    return images


def _blocks(network: SynthesisNetwork) -> list[Any]:
    return [getattr(network, f"b{r}") for r in network.block_resolutions]


def _noises(
    convolutions: Sequence[SynthesisLayer],
    n: int,
    noise_mode: str,
    generators: Sequence[torch.Generator] | None,
) -> Iterator[NoiseMaps]:
    """Each face's noise, the same numbers in the same order as the network would draw."""
    if noise_mode not in ("const", "random", "none"):
        raise ValueError(f"noise_mode is const, random or none, not {noise_mode!r}")
    if noise_mode == "random" and generators is None:  # each convolution draws for the whole batch
        batch = [torch.randn(n, c.resolution, c.resolution) if c.use_noise else None for c in convolutions]
        for i in range(n):
            yield [None if maps is None else maps[i] for maps in batch]
        return
    for i in range(n):
        noise: NoiseMaps = []
        for c in convolutions:
            if noise_mode == "none" or not c.use_noise:
                noise.append(None)
            elif noise_mode == "const":
                noise.append(c.noise_const.contiguous())
            else:
                assert generators is not None
                g = generators[i]
                noise.append(torch.randn(1, c.resolution, c.resolution, generator=g, device=g.device).cpu())
        yield noise


class _PreparedNetwork:
    """A network's weights as the kernels want them, and the memory to draw in."""

    def __init__(self, network: SynthesisNetwork, kernels: cpu.Kernels) -> None:
        self._kernels = kernels
        self._kept: list[torch.Tensor] = []  # what the structures point to
        self._workspace = torch.empty(0)
        self.convolutions: list[SynthesisLayer] = []
        layers: list[cpu.Layer] = []
        blocks = _blocks(network)
        for block in blocks:
            for convolution in [block.conv1] if block.is_first else [block.conv0, block.conv1]:
                self.convolutions.append(convolution)
                layers.append(self._layer(convolution))
            if block.num_torgb:
                self._add_rgb(layers[-1], block.torgb)
        self.resolution, self.num_ws = network.img_resolution, network.num_ws
        self.w_dim = blocks[0].conv1.affine.weight.shape[1]
        self.image_channels = len(blocks[-1].torgb.bias)
        self._layers = (cpu.Layer * len(layers))(*layers)
        self._network = cpu.Network(
            layers=self._layers,
            num_layers=len(layers),
            w_dim=self.w_dim,
            image_channels=self.image_channels,
            input=self._address(cpu.grouped(blocks[0].const)),
        )

    def draw(self, w: torch.Tensor, noise: NoiseMaps, image: torch.Tensor) -> None:
        """Contiguous float32 w [num_ws, w_dim] -> image [C, R, R], written in place."""
        if self._network.threads != torch.get_num_threads():
            self._network.threads = torch.get_num_threads()
            self._workspace = torch.empty(0)  # give the old one back first
            self._workspace = torch.empty(self._kernels.workspace_floats(self._network))
        for layer, values in zip(self._layers, noise, strict=True):
            layer.noise = None if values is None else values.data_ptr()
        self._kernels.draw(self._network, w, self._workspace, image)

    def _layer(self, convolution: SynthesisLayer) -> cpu.Layer:
        weight, affine, clamp = convolution.weight, convolution.affine, convolution.conv_clamp
        return cpu.Layer(
            in_channels=weight.shape[1],
            out_channels=weight.shape[0],
            resolution=convolution.resolution,
            upsample=convolution.up == 2,
            affine_weight=self._address(affine.weight * affine.weight_gain),
            affine_bias=self._address(affine.bias * affine.bias_gain),
            power=self._address(weight.square().sum(dim=(2, 3))),
            weight=self._address(self._kernels.prepare_weight(weight, convolution.up == 2)),
            bias=self._address(convolution.bias),
            noise_strength=float(convolution.noise_strength) if convolution.use_noise else 0.0,
            clamp=math.inf if clamp is None else clamp,
        )

    def _add_rgb(self, layer: cpu.Layer, rgb: Any) -> None:
        layer.rgb_affine_weight = self._address(rgb.affine.weight * (rgb.affine.weight_gain * rgb.weight_gain))
        layer.rgb_affine_bias = self._address(rgb.affine.bias * (rgb.affine.bias_gain * rgb.weight_gain))
        layer.rgb_weight = self._address(rgb.weight.flatten(1))
        layer.rgb_bias = self._address(rgb.bias)

    def _address(self, tensor: torch.Tensor) -> int:
        """The address of the numbers, which stay where they are as long as this object lives."""
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()
