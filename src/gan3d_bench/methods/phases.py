"""Training in phases: one shared mechanism for every method.

A method lists its `Phase`s; each names the modules it trains, their optimisers, its length and its
step function. The mechanism freezes everything else (no gradients, evaluation mode), makes fresh
optimisers at each phase, counts steps, averages gradients over processes, logs, and resumes to the
bit in the middle of a phase.

Random numbers of a step come from `PhasedMethod.rng`, which depends only on the run's seed, the
step and an optional key: nothing has to be saved for a resumed run to repeat an uninterrupted one,
and an item gets the same numbers whichever process it lives on.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from gan3d_bench.config import RunConfig
from gan3d_bench.distributed.processes import rank_and_size, share
from gan3d_bench.errors import NonFiniteLossError, nearest
from gan3d_bench.methods.base import Method

Batch = TypeVar("Batch")
Batches = Callable[[int], Iterator[Any]]
Terms = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trainable:
    """Modules that share one optimiser.

    Attributes:
        modules: names of the method's sub-modules, dotted where they lie deeper
            (``"renderer.mapping"``: the renderer's other parts stay frozen).
        optimizer: parameters -> optimiser.
        schedule: step of the phase -> factor on the learning rate; None keeps it constant.
    """

    modules: tuple[str, ...]
    optimizer: Callable[[list[nn.Parameter]], Optimizer]
    schedule: Callable[[int], float] | None = None


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        name: shown in the progress bar and in log keys.
        steps: number of calls of `step`; 0 skips the phase, hooks included.
        trainable: optimiser name -> what it trains, in training mode. Everything else is frozen:
            without gradients and in evaluation mode, so that the running statistics of its batch
            normalisation stay as they are. No weight may be trained twice. Empty for phases that
            compute something and train nothing.
        step: called with the next batch (None without `batches`); does its updates through
            `PhasedMethod.descend` and returns scalars to log.
        begin, end: called once before the first and after the last step, without gradient.
        batches: start step -> iterator over batches. It must depend on the start step and the
            run's seed only, so that a resumed run sees the same batches.
    """

    name: str
    steps: int
    trainable: Mapping[str, Trainable]
    step: Callable[[Any], Mapping[str, Tensor]]
    begin: Callable[[], None] | None = None
    end: Callable[[], None] | None = None
    batches: Batches | None = None


class PhasedMethod(Method):
    """A method trained by a list of phases. Subclasses implement `phases`.

    Attributes:
        batch: what the current step works on, saved if its loss breaks down. Steps that draw their
            data themselves may set it: tensors in dictionaries, lists and the like.
        gradient_weight: this process's share of the step's loss; None: 1 / processes.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.automatic_optimization = False
        self.phase_index = 0
        self.phase_step = 0
        self._batch_iterator: Iterator[Any] | None = None
        self._phases: list[Phase] | None = None
        self.batch: Any = None
        self.gradient_weight: float | None = None

    def phases(self) -> Sequence[Phase]:
        """Return the phases of the run; called once. Must depend on the config only."""
        raise TypeError(f"{type(self).__name__} must implement phases()")

    # -- progress -------------------------------------------------------------------------------

    @property
    def schedule(self) -> list[Phase]:
        """The phases that have steps.

        Raises:
            ValueError: a phase trains a module that the method does not have, or a weight twice.
        """
        if self._phases is None:
            phases = [phase for phase in self.phases() if phase.steps > 0]
            for phase in phases:
                self._check_trainable(phase)
            self._phases = phases
        return self._phases

    @property
    def phase(self) -> Phase:
        return self.schedule[self.phase_index]

    @property
    def step(self) -> int:
        """Steps done in all phases."""
        return sum(phase.steps for phase in self.schedule[: self.phase_index]) + self.phase_step

    @property
    def total_steps(self) -> int:
        return sum(phase.steps for phase in self.schedule)

    @property
    def finished(self) -> bool:
        return self.phase_index >= len(self.schedule)

    def rng(
        self, key: str = "", step: int | None = None, device: torch.device | str | None = None
    ) -> torch.Generator:
        """Return a generator seeded by (run seed, step, key).

        Args:
            key: tells apart what is drawn in one step.
            step: None: the run's present one.
            device: where it draws. None: the CPU, whose numbers are the same on every machine.
                Generators of other devices save the copying and give other numbers.
        """
        step = self.step if step is None else step
        seed = zlib.crc32(f"{self.config.seed}/{step}/{key}".encode())
        # crc32 is linear in its input; spreading it keeps neighbouring seeds unrelated
        return torch.Generator(device or "cpu").manual_seed((seed * 0x9E3779B97F4A7C15) % 2**63)

    def share(self, batch: Batch) -> Batch:
        """Return this process's part of a whole batch: see `distributed.processes.share`."""
        return share(batch)

    # -- Lightning ------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[Optimizer]:
        if self.finished:
            return []
        self._freeze_others()
        return [
            item.optimizer([p for module in self._modules_of(item) for p in module.parameters()])
            for item in self.phase.trainable.values()
        ]

    def _freeze_others(self) -> None:
        """Freeze everything but what the phase trains."""
        for module in (*self.children(), *self.frozen.values()):
            module.eval()
        self.requires_grad_(False)
        for network in self.frozen.values():
            network.requires_grad_(False)
        for item in self.phase.trainable.values():
            for module in self._modules_of(item):
                module.train().requires_grad_(True)

    def _modules_of(self, item: Trainable) -> list[nn.Module]:
        return [self.get_submodule(name) for name in item.modules]

    def _check_trainable(self, phase: Phase) -> None:
        seen: dict[int, str] = {}
        known = [name for name, _ in self.named_modules(remove_duplicate=False) if name]
        for key, item in phase.trainable.items():
            where = f"phase '{phase.name}', optimiser '{key}'"
            for name in item.modules:
                if name not in known:
                    raise ValueError(
                        f"{where}: {type(self).__name__} has no module '{name}'"
                        f"{nearest(name, known)}"
                    )
                for weight, p in self.get_submodule(name).named_parameters(name):
                    if id(p) in seen:
                        raise ValueError(f"{where}: '{weight}' is already in {seen[id(p)]}")
                    seen[id(p)] = f"'{weight}' of optimiser '{key}'"

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Ticks(), batch_size=None)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if self.finished:
            self.trainer.should_stop = True
            return
        phase = self.phase
        if self._batch_iterator is None:
            if self.phase_step == 0 and phase.begin is not None:
                with torch.no_grad():
                    phase.begin()
            self._batch_iterator = phase.batches(self.phase_step) if phase.batches else _nothing()
        for item, optimizer in zip(phase.trainable.values(), self._optimizers(), strict=True):
            if item.schedule is not None:
                for group in optimizer.param_groups:
                    group.setdefault("initial_lr", group["lr"])
                    group["lr"] = group["initial_lr"] * item.schedule(self.phase_step)
        self.batch = next(self._batch_iterator)
        scalars = phase.step(self.batch)
        self.batch = None
        if self.step % self.config.trainer.log_every == 0 or self.phase_step == phase.steps - 1:
            self._log(scalars)
        self.phase_step += 1
        if self.phase_step == phase.steps:
            self._next_phase()

    def _next_phase(self) -> None:
        if self.phase.end is not None:
            with torch.no_grad():
                self.phase.end()
        self._batch_iterator = None
        self.phase_index += 1
        self.phase_step = 0
        if self.finished:
            self.trainer.should_stop = True
        else:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def _optimizers(self) -> list[Any]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def descend(
        self, terms: Terms | Iterable[Terms], name: str | Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Take one optimiser step down the sum of `terms` (already weighted scalars).

        Args:
            terms: loss name -> scalar; or several such, of parts of the batch, which are added up:
                each is asked for, and its graph freed, before the next (gradient accumulation).
            name: which of the phase's optimisers, or several; None steps all of them. They step
                down the same loss. Of gradients that others' weights get, nothing is kept.

        Returns:
            the terms, detached and added up, for the log.

        Raises:
            NonFiniteLossError: a term or, unless it is scaled for float16, a gradient is NaN or
                infinite. No weight has changed, and every process raises it.
        """
        optimizers = self._chosen(name)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        parts = cast("Iterable[Terms]", [terms] if isinstance(terms, Mapping) else terms)
        fault = ""
        total: dict[str, Tensor] = {}
        for part in parts:
            fault = fault or self._bad_term(part)
            total |= {key: x.detach() + total.get(key, 0.0) for key, x in part.items()}
            if fault and not _several():
                raise self._nonfinite_error(fault, total)
            # processes stay in step, whatever they exchange in the making of the next part
            self.manual_backward(torch.stack([value.float() for value in part.values()]).sum())
        if any(self._average_gradients(optimizer, bool(fault)) for optimizer in optimizers):
            raise self._nonfinite_error(fault, total)
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            fault = self._bad_gradient(optimizers)
            if fault:
                raise self._nonfinite_error(fault, total)
        for optimizer in optimizers:
            optimizer.step()
        return total

    def _chosen(self, name: str | Sequence[str] | None) -> list[Any]:
        """The optimisers of these names."""
        known = dict(zip(self.phase.trainable, self._optimizers(), strict=True))
        names = [name] if isinstance(name, str) else list(known if name is None else name)
        for key in names:
            if key not in known:
                raise ValueError(
                    f"phase '{self.phase.name}' has no optimiser '{key}'{nearest(key, known)}"
                )
        return [optimizer for key, optimizer in known.items() if key in names]

    def _bad_term(self, terms: Mapping[str, Tensor]) -> str:
        """What is wrong with the terms, "" where they are finite."""
        losses = torch.stack([value.detach().float() for value in terms.values()]).tolist()
        for key, value in zip(terms, losses, strict=True):
            if not math.isfinite(value):
                return f"loss term '{key}' is {value}"
        return ""

    def _average_gradients(self, optimizer: Any, broken: bool) -> bool:
        """Average gradients over processes; return whether any of these is `broken`."""
        # Lightning's DDP wrapper assumes that the same parameters take part in every backward
        # pass, which phases and lazy regularisers break; one flat all-reduce per update does not.
        if not _several():
            return broken
        weight = 1.0 / dist.get_world_size()
        if self.gradient_weight is not None:
            weight = self.gradient_weight
        parameters = _parameters(optimizer)
        sizes = [p.numel() for p in parameters]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad * weight for p in parameters]
        # a parameter without a gradient anywhere must stay without: optimisers pass it over
        flags = grads[0].new_tensor([*(p.grad is not None for p in parameters), broken])
        flat = torch.cat([*(grad.flatten() for grad in grads), flags])
        dist.all_reduce(flat)
        *grads, flags = flat.split([*sizes, len(flags)])
        *used, faults = flags.tolist()
        for p, grad, count in zip(parameters, grads, used, strict=True):
            p.grad = grad.view_as(p) if count else None
        return faults > 0

    def _bad_gradient(self, optimizers: Sequence[Any]) -> str:
        """What is wrong with the gradients, "" where they are finite; equal on all processes."""
        trained = [p for optimizer in optimizers for p in _parameters(optimizer)]
        grads = [p.grad for p in trained if p.grad is not None]
        if torch.nn.utils.get_total_norm(grads).isfinite():
            return ""
        ids = {id(p) for p in trained}
        for key, p in self.named_parameters():
            if id(p) in ids and p.grad is not None and not p.grad.isfinite().all():
                return f"the gradient of weight '{key}' is NaN or infinite"
        return "the norm of the gradients is infinite"

    def _nonfinite_error(self, fault: str, terms: Mapping[str, Tensor]) -> NonFiniteLossError:
        """The error of all processes: the first fault that one of them has found."""
        rank, place = 0, f"in phase '{self.phase.name}' at step {self.phase_step}"
        if _several():
            faults: list[Any] = [""] * dist.get_world_size()
            dist.all_gather_object(faults, fault)
            rank = next(rank for rank, text in enumerate(faults) if text)
            fault, place = faults[rank], f"{place} on process {rank}"
        return NonFiniteLossError(
            f"{fault} {place}",
            self.phase.name,
            self.phase_step,
            {key: float(value) for key, value in terms.items()},
            self.batch,
            rank,
        )

    def _log(self, scalars: Mapping[str, Tensor]) -> None:
        row = {f"train/{key}": float(value) for key, value in scalars.items()}
        row["train/phase"] = float(self.phase_index)
        for logger in self.loggers:
            logger.log_metrics(row, step=self.step)

    # -- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["phase"] = {"index": self.phase_index, "step": self.phase_step}
        # The loop's position is the phase's; Lightning's own would only repeat or contradict it.
        checkpoint["loops"] = None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.phase_index = checkpoint["phase"]["index"]
        self.phase_step = checkpoint["phase"]["step"]
        self._batch_iterator = None


def _several() -> bool:
    return rank_and_size()[1] > 1


def _parameters(optimizer: Any) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


class _Ticks(IterableDataset):
    """An endless stream of nothing: phases bring their own data."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def _nothing() -> Iterator[None]:
    while True:
        yield None
