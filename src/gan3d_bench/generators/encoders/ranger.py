"""Ranger: rectified Adam on centralised gradients, with weights that look ahead.

Source: training/ranger.py of yuval-alaluf/restyle-encoder; Liu et al. 2020 (RAdam), Zhang et al.
2019 (Lookahead), Yong et al. 2020 (gradient centralisation). Parity: vector ``ranger``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Ranger(torch.optim.RAdam):
    """PyTorch's RAdam on gradients without their mean, and Lookahead.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas, eps: of RAdam.
        every: steps between two in which the weights go back part of the way.
        alpha: how far the slow weights move towards the fast ones then.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        every: int = 6,
        alpha: float = 0.5,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        self.every, self.alpha = every, alpha

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; gradients of more than one axis are centralised in place."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        used = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        fresh: dict[Tensor, Tensor] = {}
        for p in used:
            if p.grad.ndim > 1:
                p.grad -= p.grad.mean(tuple(range(1, p.grad.ndim)), keepdim=True)
            if "slow" not in self.state.get(p, {}):  # looked up without making an entry
                fresh[p] = p.clone()
        super().step()
        for p in used:
            state = self.state[p]
            if p in fresh:
                state["slow"] = fresh[p]
            if int(state["step"]) % self.every == 0:
                state["slow"].lerp_(p, self.alpha)
                p.copy_(state["slow"])
        return loss
