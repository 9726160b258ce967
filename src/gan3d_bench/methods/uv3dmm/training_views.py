"""The two views of a stylecode that train its maps (section 3.3), and keeping them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.files.shard_store import ShardStore
from gan3d_bench.methods.uv3dmm.coefficients import Coefficients
from gan3d_bench.methods.uv3dmm.pairs import SHARD, Pairs


@dataclass(frozen=True)
class View:
    """One of the two views of a step, B faces.

    Attributes:
        target: (B, 3, S, S) the teacher's pictures.
        coefficients: what F3D says that they show.
        weight: of its losses.
    """

    target: Tensor
    coefficients: Coefficients
    weight: float


@dataclass(frozen=True)
class Pictures:
    """What the teacher shows of B stylecodes.

    Attributes:
        w: (B, w_dim) stylecodes.
        symmetric: (B, w_dim) those of the second view.
        targets: (B, 3, S, S) pictures of either; of the first alone where the second has no weight.
    """

    w: Tensor
    symmetric: Tensor
    targets: tuple[Tensor, ...]


MakePictures = Callable[[Tensor, Tensor], Pictures]
"""Stylecodes (B, w_dim) and (B,) bool, whether second views are from the right."""


class KeptPictures:
    """Both pictures of every pair, made once, 8 bits a colour, in the cache folder.

    For teachers that take longer than a step of training. Second views of faces that look ahead
    are from the right for odd numbers, from the left for even ones.

    Args:
        pairs: whose stylecodes they are of, all fitted.
        make: makes them.
        made_by: says what else they depend on.
        networks: likewise, by their weights.
    """

    def __init__(
        self, pairs: Pairs, make: MakePictures, made_by: str, networks: list[nn.Module]
    ) -> None:
        self.pairs, self.make = pairs, make
        digest = hashlib.sha256(f"{pairs.store.fingerprint} {made_by}".encode())
        for network in networks:
            for name, weight in network.state_dict().items():
                digest.update(name.encode())
                digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        name = digest.hexdigest()[:16]
        self.store = ShardStore(cache_dir() / "style-pictures" / name, name, SHARD)

    @property
    def count(self) -> int:
        """Pairs, those included whose fit cannot be used."""
        return self.pairs.config.pairs.count

    def make_shard(self) -> None:
        """Make the next of this process's shards that is missing."""
        self.store.run(self.count, self._make, most=1)

    def read(self, numbers: Tensor, device: torch.device) -> Pictures:
        """Those of some pairs (B,), by number."""
        rows = {key: value[numbers].to(device) for key, value in self._all.items()}
        targets = tuple(rows[key].float() / 127.5 - 1 for key in ("first", "second") if key in rows)
        return Pictures(rows["w"], rows["symmetric"], targets)

    @cached_property
    def _all(self) -> dict[str, Tensor]:
        self.store.run(self.count, self._make)  # none, unless the cache was cleared
        if rank_and_size()[1] > 1:
            dist.barrier()
        return self.store.load(self.count)

    def _make(self, items: range) -> Mapping[str, Tensor]:
        w, size, parts = self.pairs.stylecodes(items), self.pairs.config.pairs.batch, []
        right = torch.tensor(items) % 2 == 1
        for start in range(0, len(w), size):
            made = self.make(w[start : start + size], right[start : start + size])
            pictures = dict(zip(("first", "second"), map(_bytes, made.targets), strict=False))
            parts.append({"w": made.w, "symmetric": made.symmetric, **pictures})
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _bytes(images: Tensor) -> Tensor:
    """(B, 3, S, S) in [-1, 1] to uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
