"""The mapping network, z -> w."""

import torch
from torch import nn

from .layers import FullyConnectedLayer


def normalize_2nd_moment(x: torch.Tensor) -> torch.Tensor:
    """Scale each row of [N, D] to mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class MappingNetwork(nn.Module):
    """z (and class) -> w, the latent that styles the image ([1] section 1).

    The discriminator uses one too, with ``z_dim=0`` and ``num_ws=None``, to embed the class it is told.
    """

    w_avg: torch.Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        layer_features: int | None = None,
        embed_features: int | None = None,
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.995,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.num_ws, self.num_layers, self.w_avg_beta = num_ws, num_layers, w_avg_beta
        embed = (embed_features or w_dim) if c_dim else 0
        hidden = layer_features or w_dim
        features = [z_dim + embed, *[hidden] * (num_layers - 1), w_dim]
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed)
        for i in range(num_layers):
            layer = FullyConnectedLayer(features[i], features[i + 1], activation="lrelu", lr_multiplier=lr_multiplier)
            setattr(self, f"fc{i}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the weights are stored and the network computes."""
        return next(self.parameters()).dtype

    def forward(
        self,
        z: torch.Tensor | None,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_w_avg: bool | None = None,
    ) -> torch.Tensor:
        """Map latents to styles.

        Args:
            z: [N, z_dim]; None where ``z_dim`` is 0.
            c: [N, c_dim] one-hot or soft classes; ignored where ``c_dim`` is 0.
            truncation_psi: pull w towards the average: w_avg + psi * (w - w_avg).
            truncation_cutoff: only for so many of the first styles; None = all.
            update_w_avg: move the running average of w; None = in training mode.

        Returns:
            [N, num_ws, w_dim], or [N, w_dim] where ``num_ws`` is None.
        """
        parts = []
        if self.z_dim:
            assert z is not None
            parts.append(normalize_2nd_moment(z.to(self.dtype)))
        if self.c_dim:
            assert c is not None
            parts.append(normalize_2nd_moment(self.embed(c.to(self.dtype))))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)  # [N, w_dim]

        if self.num_ws is None:
            return x
        if update_w_avg is None:
            update_w_avg = self.training
        if update_w_avg and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))

        ws = x.unsqueeze(1).expand(-1, self.num_ws, -1)  # [N, num_ws, w_dim]
        if truncation_psi != 1:
            cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
            ws = torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]], dim=1)
        return ws
