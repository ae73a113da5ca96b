"""The torch operations of a translated network, and their schedule: what runs in which order, with least memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


@dataclass(frozen=True)
class Convolution:
    """[N, H, W, C] -> [N, H', W', C']; ``weight`` [C', C / groups, h, w]."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    same: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        x, padding = x.permute(0, 3, 1, 2), (0, 0)
        if self.same:
            height, width = self.weight.shape[2:]
            x, padding = pad_same(x, (height, width), self.stride, self.dilation, 0.0)
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return y.permute(0, 2, 3, 1)


class Dense(Convolution):
    """[..., C] -> [..., C'], as a 1x1 convolution: unlike a matrix product's, the last bits of its results do not
    depend on where in the batch a face stands.
    """

    def __call__(self, x: Tensor) -> Tensor:
        y = super().__call__(x.reshape(-1, 1, 1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True)
class Affine:
    """``x * scale + shift``, both [C] or scalars."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


@dataclass(frozen=True)
class Activation:
    function: Callable[[Tensor, bool], Tensor]
    inplace: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x, self.inplace)


@dataclass(frozen=True)
class Sum:
    inplace: bool = False

    def __call__(self, first: Tensor, *others: Tensor) -> Tensor:
        total = first.add_(others[0]) if self.inplace else first + others[0]
        for other in others[1:]:
            total.add_(other)
        return total


@dataclass(frozen=True)
class Function:
    """Anything else. ``fresh``: its result shares no memory with its input."""

    function: Callable[..., Tensor]
    fresh: bool = False

    def __call__(self, *values: Tensor) -> Tensor:
        return self.function(*values)


Operation = Convolution | Affine | Activation | Sum | Function


@dataclass(frozen=True)
class Step:
    operation: Operation
    inputs: tuple[int, ...]
    output: int


def run(schedule: tuple[list[tuple[Step, tuple[int, ...]]], int], inputs: Tensor) -> Tensor:
    steps, output = schedule
    values = {0: inputs}
    for step, released in steps:
        values[step.output] = step.operation(*[values[i] for i in step.inputs])
        for i in released:
            del values[i]
    return values[output]


def schedule(steps: Sequence[Step], output: int) -> tuple[list[tuple[Step, tuple[int, ...]]], int]:
    """The steps that lead to a value, each with the values that are not needed after it."""
    needed, wanted = {output}, []
    for step in reversed(steps):
        if step.output in needed:
            released = tuple(set(step.inputs) - needed)
            needed.update(step.inputs)
            wanted.append((step, released))
    return wanted[::-1], output


def simplified(steps: Sequence[Step], kept: Sequence[int]) -> list[Step]:
    """Simplify a network to fewer passes over memory: affine maps folded into convolutions, work done in place."""
    uses = Counter(i for step in steps for i in step.inputs) + Counter(kept)
    made: dict[int, Step] = {}  # by output, in order
    for step in steps:
        operation = step.operation
        mine = [i for i in step.inputs if i in made and uses[i] == 1]  # values that nothing else needs
        if isinstance(operation, Affine) and mine:
            before = made[mine[0]]
            folded = _folded(before.operation, operation)
            if folded is not None:
                del made[before.output]
                made[step.output] = Step(folded, before.inputs, step.output)
                continue
        if isinstance(operation, Activation | Sum):
            free = [i for i in mine if _is_fresh(made[i].operation)]
            if free:
                inputs = (free[0], *(i for i in step.inputs if i != free[0]))
                step = Step(replace(operation, inplace=True), inputs, step.output)
        made[step.output] = step
    return list(made.values())


def _is_fresh(operation: Operation) -> bool:
    """Whether its result is in memory of its own."""
    if isinstance(operation, Function):
        return operation.fresh
    return not getattr(operation, "inplace", False)


def _folded(operation: Operation, affine: Affine) -> Convolution | None:
    if not isinstance(operation, Convolution) or affine.scale.shape != operation.weight.shape[:1]:
        return None
    scale = affine.scale.double()
    weight = operation.weight.double() * scale[:, None, None, None]
    bias = affine.shift.double() + (0 if operation.bias is None else operation.bias.double() * scale)
    return replace(operation, weight=channels_last(weight.float()), bias=bias.float())


def channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def pad_same(
    x: Tensor, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int] = (1, 1), value: float = 0.0
) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's padding: the odd pixel goes below and right. [N, C, H, W] -> padded, and what is left to torch."""
    missing = []
    for n, k, s, d in zip(x.shape[2:], size, stride, dilation, strict=True):
        missing.append(max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0))
    height, width = missing
    if height % 2 == 0 and width % 2 == 0:
        return x, (height // 2, width // 2)
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    return F.pad(x, sides, value=value), (0, 0)
