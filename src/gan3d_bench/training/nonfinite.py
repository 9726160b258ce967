"""What a training that breaks down leaves behind: the batch that its loss became NaN on.

``nonfinite.pt`` in the run folder, ``nonfinite-rank1.pt`` of the second process and so on: a
dictionary of ``message``, ``phase``, ``step``, ``terms`` (loss term -> value) and ``batch``, of
plain values and CPU tensors (``torch.load(path, weights_only=True)``). The run's last checkpoint is
left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from gan3d_bench.errors import NonFiniteLossError, UserError, one_line
from gan3d_bench.files.checkpoints import AtomicCheckpointIO
from gan3d_bench.terminal import say


class NonFiniteBatchSaver(L.Callback):
    """Saves what a `NonFiniteLossError` came from, of every process.

    Args:
        folder: where to; None on processes other than rank zero.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if not isinstance(exception, NonFiniteLossError) or self.folder is None:
            return
        try:
            save_nonfinite_batch(exception, _file(self.folder, trainer.global_rank))
        except UserError as error:  # what broke the training down is still to be told
            say(one_line(f"gan3d-bench: {error}"), file=sys.stderr)
        # one process that ends may have the others killed, before they have saved theirs
        trainer.strategy.barrier()
        file = _file(self.folder, exception.rank)
        exception.file = file if file.exists() else None


def save_nonfinite_batch(error: NonFiniteLossError, file: Path) -> None:
    """Write what `error` came from to `file`; see the module.

    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "message": str(error),
        "phase": error.phase,
        "step": error.step,
        "terms": dict(error.terms),
        "batch": to_loadable(error.batch),
    }
    AtomicCheckpointIO().save_checkpoint(content, file)


def _file(folder: Path, rank: int) -> Path:
    return folder / (f"nonfinite-rank{rank}.pt" if rank else "nonfinite.pt")


def to_loadable(value: Any) -> Any:
    """Return `value` in types that ``torch.load(weights_only=True)`` reads.

    Tensors come to the CPU, without what else their storage holds; dataclasses and named tuples
    become dictionaries; what is none of these becomes its `repr`.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {to_loadable(key): to_loadable(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_loadable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: to_loadable(item) for key, item in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, list | tuple):
        items = [to_loadable(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value if type(value) in (bool, int, float, str, type(None)) else repr(value)
