"""A method whose batch is shared out unevenly over the processes; imported by name in them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from children import torchrun_environment
from torch import Tensor, nn

from gan3d_bench.config import RunConfig
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable


class Sharded(PhasedMethod):
    """Fits a line; rank zero sees two of six samples, rank one the others.

    `idle` is trained but takes no part in the loss: Adam must leave it alone.
    """

    def __init__(self) -> None:
        super().__init__(RunConfig(method="sharded"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line, self.idle = nn.Linear(3, 1), nn.Linear(3, 1)

    def phases(self) -> Sequence[Phase]:
        adam = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1)
        return [Phase("fit", 4, {"all": Trainable(("line", "idle"), adam)}, self._step)]

    def _step(self, _: Any) -> Mapping[str, Tensor]:
        x = torch.randn(6, 3, generator=self.rng("x"))
        if dist.is_initialized():
            shards = x.split((2, 4))
            mine = shards[dist.get_rank()]
        else:
            mine = x
        self.gradient_weight = len(mine) / len(x)
        return self.descend({"error": (self.line(mine) - mine.sum(1, True)).square().mean()})


def train(devices: int) -> Sharded:
    """Train on the CPU and return the method."""
    method = Sharded()
    trainer = L.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        devices=devices,
        strategy=PlainDDPStrategy() if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method)
    return method


def train_as_rank(rank: int, port: int, folder: Path) -> None:
    """Train as one of two processes and save the weights to ``<folder>/<rank>.pt``."""
    os.environ.update(torchrun_environment(rank, port))
    torch.set_num_threads(1)
    torch.save(train(devices=2).state_dict(), folder / f"{rank}.pt")
