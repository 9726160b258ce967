"""Scenes one after another as one: of methods that have a network of its own for each subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Scene


class JoinedScenes(Scene):
    """The subjects of several scenes of one kind, which share a camera.

    Args:
        scenes: at least one, each of one subject; all know their input views or none does.
    """

    def __init__(self, scenes: Sequence[Scene]) -> None:
        first = scenes[0]
        self.scenes, self.camera = list(scenes), first.camera
        self.capabilities = first.capabilities - {"relight"}
        self.canonical = first.canonical
        views = [scene.input_view for scene in scenes if scene.input_view is not None]
        self.input_view = View.join(views) if views else None

    @property
    def batch_size(self) -> int:
        return len(self.scenes)

    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """See `Scene.render`."""
        size = camera.width
        parts = [
            scene.render(view[i : i + 1], image_size=size) for i, scene in enumerate(self.scenes)
        ]
        made = {
            item.name: torch.cat([getattr(part, item.name) for part in parts])
            for item in fields(Rendering)
            if isinstance(getattr(parts[0], item.name), Tensor)
        }
        return Rendering(**made, whole=all(part.whole for part in parts))

    def mesh(self, index: int) -> SceneMesh:
        """See `Scene.mesh`."""
        return self.scenes[index].mesh(0)
