"""StyleGAN2 synthesis on a GPU without the cost of starting each kernel: recorded once, replayed for each batch."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...runtime.errors import first_line
from ..networks import SynthesisNetwork
from ..ops.build import mode

MAX_GRAPHS = 4  # of one network


class GraphedSynthesis:
    """Stands in for a synthesis network that only draws.

    A small batch keeps a GPU waiting for Python, which starts some 200 kernels a picture. A CUDA graph starts all at
    once. One is recorded when a batch size with a noise mode comes for the second time; ``random`` noise, which is
    drawn anew, is never recorded. The images are the same to the bit. Where recording fails, the network itself draws.

    Args:
        network: on a GPU; its weights stay where they are, since a graph holds their addresses.
    """

    def __init__(self, network: SynthesisNetwork) -> None:
        self.network = network
        self._seen: set[tuple[object, ...]] = set()
        self._graphs: dict[tuple[object, ...], _Recording] = {}
        self._failed = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[GraphedSynthesis], tuple[SynthesisNetwork]]:
        return GraphedSynthesis, (self.network,)

    @torch.inference_mode()
    def __call__(
        self,
        ws: torch.Tensor,
        noise_mode: str = "random",
        noise_generators: Sequence[torch.Generator] | None = None,
    ) -> torch.Tensor:
        """Draw as :meth:`..networks.SynthesisNetwork.forward` does, without gradients."""
        if noise_mode == "random" or self._failed or not ws.is_cuda or mode() == "reference":
            return self.network(ws, noise_mode, noise_generators)
        key = (noise_mode, ws.shape, ws.dtype, ws.device)
        with self._lock:
            if key not in self._seen:
                self._seen.add(key)
                return self.network(ws, noise_mode)
            if key not in self._graphs and len(self._graphs) < MAX_GRAPHS:
                self._record(key, ws, noise_mode)
            if key not in self._graphs:
                return self.network(ws, noise_mode)
            recording = self._graphs[key]
            recording.ws.copy_(ws)
            recording.graph.replay()
            return recording.images.clone()  # the next replay overwrites them

    def _record(self, key: tuple[object, ...], ws: torch.Tensor, noise_mode: str) -> None:
        try:
            with torch.cuda.device(ws.device):
                given, graph = ws.clone(), torch.cuda.CUDAGraph()
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):  # libraries set themselves up, which cannot be recorded
                    self.network(given, noise_mode)
                torch.cuda.current_stream().wait_stream(side)
                # The graphs share the memory between input and images: one is replayed at a time.
                pool = next((recording.graph.pool() for recording in self._graphs.values()), None)
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    images = self.network(given, noise_mode)
            self._graphs[key] = _Recording(graph, given, images)
        except RuntimeError as error:
            self._failed = True
            print(
                f"fergan: drawing goes on without CUDA graphs, which only costs time: {first_line(error)}",
                file=sys.stderr,
            )


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    ws: torch.Tensor  # what it reads
    images: torch.Tensor  # what it writes
