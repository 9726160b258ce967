"""The processes an evaluation runs on, as torchrun or SLURM started them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which one this is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def detect(cls) -> Processes:
        """Return the process group in use, else what torchrun or SLURM says, else one process."""
        if dist.is_available() and dist.is_initialized():
            local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
            return cls(dist.get_rank(), dist.get_world_size(), local)
        for kind in (TorchElasticEnvironment, SLURMEnvironment):
            if kind.detect():
                cluster = kind()
                os.environ.setdefault("MASTER_ADDR", cluster.main_address)
                os.environ.setdefault("MASTER_PORT", str(cluster.main_port))
                return cls(cluster.global_rank(), cluster.world_size(), cluster.local_rank())
        return cls()

    def device(self, name: str) -> torch.device:
        """Return this process's device: its own GPU when `name` is "cuda"."""
        if name == "cuda" and self.size > 1:
            return torch.device("cuda", self.local_rank % torch.cuda.device_count())
        return torch.device(name)

    def gather(self, function: Callable[[], T]) -> list[T]:
        """Return every process's ``function()`` in order of rank, on every process.

        An exception of one process is raised on all, rather than leaving the others waiting.
        """
        if self.size == 1:
            return [function()]
        outcome: tuple[T | None, Exception | None]
        try:
            outcome = function(), None
        except Exception as error:
            outcome = None, error
        self._connect()
        outcomes: list[Any] = [None] * self.size
        dist.all_gather_object(outcomes, outcome)
        for _, error in outcomes:
            if error is not None:
                raise error
        return [value for value, _ in outcomes]

    def _connect(self) -> None:
        if not dist.is_initialized():
            dist.init_process_group(
                "gloo", rank=self.rank, world_size=self.size, timeout=timedelta(days=1)
            )
