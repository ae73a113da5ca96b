"""The settings that everything shares which draws faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .generator import Generator


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Which generator draws, and how.

    Attributes:
        network: a checkpoint file or the name of a bundled or published generator; None for the best bundled one, and
            where a class is named for the bundled conditional one, whose name then stands here.
        truncation_psi: None for the generator's own default.
        class_index: the class of a conditional generator.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    network: str | None = None
    truncation_psi: float | None = None
    class_index: int | str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        from .zoo import chosen_network

        object.__setattr__(self, "network", chosen_network(self.network, self.class_index))

    def open(self) -> tuple[Generator, float]:
        """The generator, loaded, and the psi by which it truncates."""
        from .generator import default_psi, load_generator

        generator = load_generator(self.network, device=self.device)
        return generator, default_psi(generator, self.truncation_psi)
