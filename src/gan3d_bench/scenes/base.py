"""`Scene`: what every method hands to every table.

A scene is a batch of B subjects ready to be looked at. How it is represented (depth map, textured
mesh, tri-plane, a generator's latents) is its own business: each kind implements `Scene._render`,
and `Scene.render` is the one door to all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, replace

import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.images import resize
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import Light

LARGEST_SIDE = 8192  # pixels of a picture


class Scene(ABC):
    """A batch of subjects. Subclasses set these attributes and implement `batch_size`, `_render`.

    Attributes:
        capabilities: what scenes of this kind can do, any of "depth", "normal", "albedo",
            "relight", "mesh".
        camera: the camera that looks at the subjects, with the scene's own image size. Of scenes
            without geometry (generators) the field of view is a label, no more.
        light: each subject's own lights in the scene's frame: they turn with the subject, since
            novel views move the camera. None of scenes that know no light.
        canonical: whether all subjects share one canonical frame, in which they face the camera at
            view zero. False of scenes in the camera's frame of their input pictures, where
            `input_view` is zero and nothing tells how a subject is turned.
        input_view: the view at which a reconstructed scene reproduces its input images; None
            for sampled scenes, whose reference is the canonical view (all angles zero).
        background: (B, 3, H, W) in [-1, 1], pictures that the subjects belong into at
            `input_view`, of scenes that know nothing of what lies behind a subject; else None.
    """

    capabilities: frozenset[str] = frozenset()
    camera: PinholeCamera
    light: Light | None = None
    canonical: bool = True
    input_view: View | None = None
    background: Tensor | None = None

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Number of subjects B."""

    def render(
        self, view: View, light: Light | None = None, image_size: int | None = None
    ) -> Rendering:
        """Render each subject at its view.

        Args:
            view: B views (or one for all), relative to the canonical view.
            light: B lights (or one for all) in camera space at that view; None keeps each
                subject's own, which turn with the subject.
            image_size: width in pixels, the height in proportion to that of the scene's camera;
                None keeps the scene's own.

        Returns:
            pictures of that size; depth is z in camera space.

        Raises:
            UserError: `light` given but the scene cannot be relit, or an impossible size.
            ValueError: the numbers of views, lights and subjects do not fit together.
        """
        size = self.camera.width if image_size is None else image_size
        if not 1 <= size <= LARGEST_SIDE:
            raise UserError(f"image_size={image_size}: expected 1 to {LARGEST_SIDE}")
        batch = self.batch_size
        view = view.expand(batch)
        if light is not None:
            self.require("relight")
            light = light.expand(batch)
        elif self.light is not None:
            light = self.light.in_camera(view.to(self.light.device))
        camera = self.camera if image_size is None else self.camera.resized(size)
        rendering = self._render(view, light, camera)
        return _resized(rendering, camera)

    @abstractmethod
    def _render(self, view: View, light: Light | None, camera: PinholeCamera) -> Rendering:
        """Render the subjects; called by `render` with arguments that fit.

        Args:
            view: B views.
            light: B lights in camera space: those given, or the scene's own as the camera sees
                them; None where there are neither.
            camera: field of view and image size asked for. A scene that cannot make this size
                returns its own; `render` resizes.
        """

    def mesh(self, index: int) -> SceneMesh:
        """Return subject `index` as a mesh; overridden by scenes with the capability "mesh".

        Raises:
            UserError: the scene has no mesh.
        """
        self.require("mesh")
        raise TypeError(f"{type(self).__name__} lists 'mesh' among its capabilities but lacks it")

    def require(self, *capabilities: str) -> None:
        """Check before work starts that the scene can do all of `capabilities`.

        Raises:
            UserError: names the first capability that is missing.
        """
        for capability in capabilities:
            if capability not in self.capabilities:
                raise UserError(
                    f"{type(self).__name__} cannot give '{capability}'; "
                    f"it can give: {', '.join(sorted(self.capabilities)) or 'rgb only'}"
                )


def _resized(rendering: Rendering, camera: PinholeCamera) -> Rendering:
    """A rendering at the camera's image size: colours filtered, geometry taken from the nearest
    pixel, which keeps depth off the mean of subject and background."""
    size = (camera.height, camera.width)
    if rendering.rgb.shape[2:] == size:
        return rendering
    changed: dict[str, Tensor] = {}
    for item in fields(rendering):
        value = getattr(rendering, item.name)
        if item.name in ("rgb", "mask", "albedo", "shading") and value is not None:
            changed[item.name] = resize(value, camera.width)
        elif item.name in ("depth", "normal") and value is not None:
            changed[item.name] = F.interpolate(value, size, mode="nearest-exact")
    return replace(rendering, **changed)
