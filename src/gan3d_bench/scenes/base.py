"""`Scene` and `Rendering`: what every method hands to every table.

A scene is a batch of B subjects ready to be looked at. How it is represented (depth map, textured
mesh, tri-plane, a generator's latents) is its own business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from gan3d_bench.errors import UserError

if TYPE_CHECKING:
    from gan3d_bench.geometry.views import View
    from gan3d_bench.rendering.shading import Light


@dataclass
class Rendering:
    """Pictures of B subjects at one view each.

    Attributes:
        rgb: (B, 3, H, W) in [-1, 1].
        depth: (B, 1, H, W) scene units, away from the camera; None if the scene has no geometry.
        mask: (B, 1, H, W) in [0, 1], 1 where the subject was rendered.
        normal: (B, 3, H, W) unit vectors towards the viewer, camera space (x right, y down,
            z forward).
        albedo: (B, 3, H, W) in [-1, 1].
        shading: (B, 1 or 3, H, W), non-negative.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor | None = None
    normal: Tensor | None = None
    albedo: Tensor | None = None
    shading: Tensor | None = None


@dataclass
class SceneMesh:
    """One subject as a textured or coloured triangle mesh, in the canonical pose.

    Attributes:
        vertices: (V, 3) camera space (x right, y down, z forward), scene units.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward.
        colors: (V, 3) in [-1, 1]; None if there is a texture.
        uvs: (T, 2) texture coordinates in [0, 1], u to the right and v up, 0 and 1 at the centres
            of the outermost texels (as `rendering.textured_mesh`).
        face_uvs: (F, 3) int64, rows of `uvs` for each face; None if `uvs` has a row a vertex.
        texture: (3, h, w) in [-1, 1].
        centre_depth: depth of the rotation centre on the optical axis, scene units.
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor | None = None
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    texture: Tensor | None = None
    centre_depth: float = 1.0


class Scene(ABC):
    """A batch of subjects. Subclasses say in `capabilities` what they can do.

    Attributes:
        capabilities: any of "depth", "normal", "albedo", "relight", "mesh".
        input_view: the view at which a reconstructed scene reproduces its input images; None
            for sampled scenes, whose reference is the canonical view (all angles zero).
    """

    capabilities: frozenset[str] = frozenset()
    input_view: View | None = None

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Number of subjects B."""

    @abstractmethod
    def render(
        self, view: View, light: Light | None = None, image_size: int | None = None
    ) -> Rendering:
        """Render each subject at its view.

        Args:
            view: B views, relative to the canonical view.
            light: B lights; None keeps each subject's own.
            image_size: pixels per side; None keeps the scene's own.

        Raises:
            UserError: `light` given but the scene cannot be relit.
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
