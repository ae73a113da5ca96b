"""Optimizers and learning rates of a training, as its settings ask for them."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..backend import keras
from ..recipes import TrainingSettings


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at every step.

    Attributes:
        scale: what ``plateau`` has come down to; set from outside.

    Args:
        settings: see :class:`TrainingSettings`.
        steps: per epoch.
        head_epochs: epochs at the start that have ``head_learning_rate``; warm-up and schedule begin after them.
        head_learning_rate: see there.
    """

    def __init__(
        self, settings: TrainingSettings, steps: int, head_epochs: int = 0, head_learning_rate: float = 0.0
    ) -> None:
        self.settings, self.steps = settings, steps
        self.head_epochs, self.head_learning_rate = head_epochs, head_learning_rate
        self.scale = 1.0

    def __call__(self, step: Any) -> float:
        how = self.settings
        at = int(keras.ops.convert_to_numpy(step)) - self.head_epochs * self.steps
        if at < 0:
            return self.head_learning_rate
        warmup = round(how.warmup_epochs * self.steps)
        if at < warmup:
            return how.learning_rate * at / warmup
        if how.schedule == "cosine":
            left = max((how.epochs - self.head_epochs) * self.steps - warmup, 1)
            return how.learning_rate * 0.5 * (1 + math.cos(math.pi * min((at - warmup) / left, 1)))
        if how.schedule == "step":
            return how.learning_rate * how.decay ** (at // (how.decay_epochs * self.steps))
        return how.learning_rate * self.scale  # plateau, constant

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("a training's schedule is not saved; its settings are")


def make_optimizer(settings: TrainingSettings, learning_rate: LearningRate) -> keras.optimizers.Optimizer:
    """The optimizer that the settings ask for; with float16 it scales the loss dynamically."""
    common: dict[str, Any] = {
        "weight_decay": settings.weight_decay,
        "global_clipnorm": settings.clip_norm or None,
        "use_ema": settings.ema > 0,
        "ema_momentum": settings.ema,
    }
    if settings.optimizer == "sgd":
        made = keras.optimizers.SGD(
            learning_rate, momentum=settings.momentum, nesterov=settings.nesterov and settings.momentum > 0, **common
        )
    elif settings.optimizer == "rmsprop":
        made = keras.optimizers.RMSprop(learning_rate, momentum=settings.momentum, **common)
    else:
        kind = keras.optimizers.AdamW if settings.optimizer == "adamw" else keras.optimizers.Adam
        made = kind(learning_rate, **common)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Keras gives torch's own subclass of what was asked for; ours is a subclass of that one
    made.__class__ = type(type(made).__name__, (_Grouped, type(made)), {})
    made.l1, made.l2 = settings.l1, settings.l2
    return keras.optimizers.LossScaleOptimizer(made) if settings.precision == "float16" else made


class _Grouped:
    """Penalties and the moving average on all weights at once; Keras takes the average weight by weight."""

    l1 = 0.0
    l2 = 0.0

    def _backend_apply_gradients(
        self: Any, grads: list[torch.Tensor], trainable_variables: list[keras.Variable]
    ) -> None:
        if self.l1 > 0 or self.l2 > 0:
            pairs = zip(grads, trainable_variables, strict=True)
            kernels = [(grad, weight.value.detach()) for grad, weight in pairs if self._use_weight_decay(weight)]
            gradients, weights = [grad for grad, _ in kernels], [weight for _, weight in kernels]
            torch._foreach_add_(gradients, weights, alpha=2 * self.l2)
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=self.l1)
        super()._backend_apply_gradients(grads, trainable_variables)  # type: ignore[misc]

    def _update_model_variables_moving_average(self: Any, trainable_variables: list[keras.Variable]) -> None:
        averages = [average.value for average in self._model_variables_moving_average]
        weights = [variable.value.detach() for variable in trainable_variables]
        steps = int(keras.ops.convert_to_numpy(self.iterations))
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - ema_momentum(self.ema_momentum, steps))


def ema_momentum(highest: float, steps: int) -> float:
    """Momentum of the weights' average after some steps: low at first, or a short training is mostly initial weights.

    It is ``min(highest, (1 + steps) / (10 + steps))``, and 0 at the first step, where there is nothing to average yet.
    """
    return min(highest, (1 + steps) / (10 + steps)) if steps else 0.0
