"""Muon for matrices and convolution kernels, AdamW for the rest: what makes minutes of CPU enough for these models."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95


class MuonAdamW:
    """Muon (Jordan 2024) on the weights with two or more axes (kernels seen as matrices), AdamW on everything else.

    Not `torch.optim.Muon`: that orthogonalises one matrix at a time in bfloat16, which a CPU without bfloat16
    instructions emulates; here equal shapes go through one batched product in the parameters' own precision.

    Args:
        matrices: parameters for Muon; kernels of shape (out, in, h, w) are orthogonalised as (out, in * h * w).
        others: parameters for AdamW.
        muon_lr, adamw_lr: peak learning rates; Muon's updates are scaled to the size of AdamW's (Liu et al. 2025,
            arXiv 2502.16982, eq. 4).
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], *, muon_lr: float, adamw_lr: float
    ) -> None:
        self._matrices = list(matrices)
        self._parameters = [*self._matrices, *others]
        self._momenta = [torch.zeros_like(matrix) for matrix in self._matrices]
        self._by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(self._matrices):
            self._by_shape[matrix.flatten(1).shape].append(index)
        self._adamw = torch.optim.AdamW(
            self._parameters[len(self._matrices) :], adamw_lr, betas=(0.9, 0.98), weight_decay=0.01
        )
        self._muon_lr, self._adamw_lr = muon_lr, adamw_lr

    def step(self, loss: Tensor, learning_rate_factor: float, max_grad_norm: float = 1.0) -> None:
        """Clear the gradients, back-propagate, clip, and update with the peak rates times the factor."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, max_grad_norm)
        for group in self._adamw.param_groups:
            group["lr"] = self._adamw_lr * learning_rate_factor
        self._adamw.step()
        self._muon_step(self._muon_lr * learning_rate_factor)

    @torch.no_grad()
    def _muon_step(self, learning_rate: float) -> None:
        for shape, members in self._by_shape.items():
            directions = []
            for index in members:
                gradient = self._matrices[index].grad
                if gradient is None:
                    gradient = torch.zeros_like(self._matrices[index])
                self._momenta[index].lerp_(gradient, 1 - _MOMENTUM)
                directions.append(gradient.lerp(self._momenta[index], _MOMENTUM).flatten(1))
            updates = orthogonalise(torch.stack(directions)) * (0.2 * max(shape) ** 0.5)
            for index, update in zip(members, updates, strict=True):
                self._matrices[index].sub_(update.view_as(self._matrices[index]), alpha=learning_rate)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Push the singular values of (B, m, n) matrices towards 1 by five Newton-Schulz rounds (Jordan 2024)."""
    a, b, c = _NEWTON_SCHULZ
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = x if matrices.shape[1] <= matrices.shape[2] else x.mT
    return orthogonal


def trapezoid(step: int, steps: int, *, warm_up: int = 50, decay_from: float = 0.5, floor: float = 0.03) -> float:
    """Learning-rate factor: linear warm-up, flat, then linear decay to `floor` from the share `decay_from` on."""
    left = 1 - step / steps
    return min(1.0, (step + 1) / warm_up) * min(1.0, max(floor, left / (1 - decay_from)))
