"""Settings, which decide the outcome of a classifier's training besides the data. Imports no torch and no Keras."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...data.labels import FERPLUS_MODES
from ...runtime.errors import UsageError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "plateau", "step", "constant")
PRECISIONS = ("float32", "bfloat16", "float16")
VOTES_MODES = ("auxiliary", *FERPLUS_MODES)
_SHARES = ("flip", "shift", "zoom", "contrast", "brightness", "tone_strength", "salt_and_pepper", "erase")


@dataclass(frozen=True)
class Augmentation:
    """How far a training face may be changed.

    Attributes:
        flip: probability of a mirror image.
        rotation: largest rotation, degrees.
        shift: largest shift along each axis, as a share of the side.
        zoom: largest relative change of size.
        crop: side of a square cut out at a random place and resized back to 48, 44 for example; 0 for none.
        contrast: largest relative change of the distance of gray values from the image's mean.
        brightness: largest gray value added or taken away, as a share of 255.
        tones: changes of tone that each face gets, one after the other, each drawn from seven: contrast, brightness,
            gamma, sharpness or blur, fewer gray levels, stretched contrast, noise (as RandAugment draws its own, Cubuk
            et al. 2019, arXiv:1909.13719; turning and shifting are done above).
        tone_strength: the largest strength of those, 0 to 1.
        salt_and_pepper: share of pixels that become 0 or 255.
        erase: probability that a random rectangle (2 % to 20 % of the area) is filled with the image's mean
            (Zhong et al. 2020, arXiv:1708.04896).
        mixup: alpha of mixup's Beta distribution (Zhang et al. 2018, arXiv:1710.09412); 0 turns it off.
        cutmix: alpha of CutMix's Beta distribution (Yun et al. 2019, arXiv:1905.04899), by which a rectangle of each
            face comes from another one; 0 turns it off. With mixup too, every batch gets one of the two, by chance.

    Raises:
        UsageError: a value that cannot be.
    """

    flip: float = 0.5
    rotation: float = 12.0
    shift: float = 0.08
    zoom: float = 0.12
    crop: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    tones: int = 0
    tone_strength: float = 0.5
    salt_and_pepper: float = 0.0
    erase: float = 0.3
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation {name} {getattr(self, name)} is not from 0 to 1")
        if not (0 <= self.rotation <= 180 and (self.crop == 0 or 8 <= self.crop <= 48)):
            raise UsageError(
                f"augmentation rotation {self.rotation} or crop {self.crop} cannot be; rotation is from 0 to 180, crop "
                "from 8 to 48 (0: none)"
            )
        if min(self.mixup, self.cutmix, self.tones) < 0:
            raise UsageError("augmentation mixup, cutmix and tones cannot be below 0")


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the outcome of a training besides the data and the network.

    Attributes:
        epochs: passes over the training rows; the cosine schedule ends with the last one.
        batch_size: faces per step.
        optimizer: one of :data:`OPTIMIZERS`.
        learning_rate: the highest of the schedule, reached after the warm-up.
        schedule: one of :data:`SCHEDULES`: ``cosine`` falls to 0 over the epochs, ``plateau`` is multiplied by
            ``decay`` whenever validation accuracy has not risen for ``decay_epochs`` epochs, ``step`` is multiplied by
            ``decay`` every ``decay_epochs`` epochs.
        warmup_epochs: the learning rate rises linearly from 0 for so long.
        decay: see ``schedule``.
        decay_epochs: see ``schedule``.
        momentum: of SGD and RMSprop.
        nesterov: of SGD (Nesterov's look-ahead).
        weight_decay: decoupled, on kernels only: each step shrinks them by ``learning_rate * weight_decay``
            (Loshchilov & Hutter 2019, arXiv:1711.05101), with every optimizer.
        l1: adds ``l1 * sum(abs(kernel))`` to what is minimised; with ``l2`` the elastic net.
        l2: adds ``l2 * sum(kernel ** 2)``. The losses that are shown are without both.
        clip_norm: gradients are scaled down to this norm over all weights together; 0 for no limit.
        label_smoothing: share of the target spread evenly over the classes.
        focal_gamma: of the focal loss (Lin et al. 2017, arXiv:1708.02002); 0 is cross-entropy.
        class_weights: ``none``; ``balanced`` for ``n / (classes * n of the class)`` as scikit-learn has it; or
            by name, ``disgust=5,fear=2``, others 1.
        dropout: on the features, before the heads.
        votes_mode: what FER+ votes are for, where they are given: ``auxiliary`` trains a second head with them that
            is dropped in the end; the others of :data:`VOTES_MODES` replace the labels by FER+'s eight
            (:func:`fergan.data.readers.ferplus.ferplus_targets`), and validation rows get the majority's.
        votes_weight: weight of the auxiliary head.
        teacher_weight: share of a teacher's probabilities in the targets of the labels, where there is a teacher.
        teacher_temperature: softens the teacher's probabilities (Hinton et al. 2015, arXiv:1503.02531); 1 leaves them.
        teacher_cycle: a teacher that judges what the student sees is shown this many epochs; then their batches come
            again, and its answers are kept, at ``4 * classes`` bytes a face and epoch; 0: no batch comes twice.
        ema: momentum of the exponential moving average of the weights, which is what is validated and kept; 0: none.
            The first steps have a lower one (:func:`.optimizers.ema_momentum`).
        patience: epochs without a better validation accuracy after which training stops early.
        precision: of convolutions and products: ``float32``; ``bfloat16``; ``float16`` with dynamic loss scaling, for
            GPUs. Weights, batch statistics, heads, losses and the saved model are float32 always.
        seed: of initial weights, order and augmentation.
        augmentation: see :class:`Augmentation`.

    Raises:
        UsageError: a value that cannot be.
    """

    epochs: int = 36
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "cosine"
    warmup_epochs: float = 2
    decay: float = 0.5
    decay_epochs: int = 5
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-3
    l1: float = 0.0
    l2: float = 0.0
    clip_norm: float = 0.0
    label_smoothing: float = 0.1
    focal_gamma: float = 0.0
    class_weights: str = "none"
    dropout: float = 0.2
    votes_mode: str = "auxiliary"
    votes_weight: float = 1.0
    teacher_weight: float = 0.7
    teacher_temperature: float = 1.5
    teacher_cycle: int = 0
    ema: float = 0.998
    patience: int = 15
    precision: str = "float32"
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("votes_mode", VOTES_MODES),
        ):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        for low, high, names in (
            (1, None, ("epochs", "decay_epochs", "patience")),
            (2, None, ("batch_size",)),
            (
                0,
                None,
                (
                    *("warmup_epochs", "weight_decay", "l1", "l2", "clip_norm"),
                    *("focal_gamma", "votes_weight", "teacher_cycle", "seed"),
                ),
            ),
            (0.01, None, ("teacher_temperature",)),
            (0, 1, ("teacher_weight", "decay", "momentum", "label_smoothing")),
            (0, 0.999, ("dropout",)),
            (0, 0.999999, ("ema",)),
        ):
            for name in names:
                value, most = getattr(self, name), f"at least {low}" if high is None else f"from {low} to {high}"
                if not value >= low or (high is not None and value > high):
                    raise UsageError(f"{name} {value} is not {most}")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate {self.learning_rate} is not above 0")
