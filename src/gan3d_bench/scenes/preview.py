"""What a run shows of itself while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gan3d_bench.scenes.base import Scene


@dataclass
class Preview:
    """What a run shows of itself: image batches by name, and a scene to turn around.

    Attributes:
        images: name -> (N, 3, H, W) in [-1, 1]; each is logged as a grid.
        scene: rendered as input, albedo, depth, normal, rotated and relit views, a turntable and
            a mesh, as far as its capabilities go.
    """

    images: Mapping[str, Tensor] = field(default_factory=dict)
    scene: Scene | None = None
