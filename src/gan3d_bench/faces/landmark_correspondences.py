"""Which point of a morphable model each landmark is, seen from each side.

Landmarks move over the face as it turns: the contour's follow the outline. The map is found from
pictures of the model itself, so that it serves any model, and knows how far it can be relied on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.files.atomic import atomic_write, write_errors
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import background
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import VertexColours, render_mesh
from gan3d_bench.rendering.shading import LambertLight

# Raise it when finding the map changes, so that old ones are not read.
VERSION = 1
YAWS = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
PICTURES = 64  # from each side
BATCH = 16
IMAGE_SIZE = 192
CENTRE = (0.0, 0.0, 1.0)


class Finder(Protocol):
    """What finds L landmarks of the largest face of each image.

    Attributes:
        label: what a result made with these landmarks has to state; identifies them wholly.
    """

    @property
    def label(self) -> str: ...

    def __call__(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B L 2"], Bool[Tensor, " B"]]:
        """Return pixels (x, y) of images in [-1, 1], NaN without a face, and where one is."""
        ...


@dataclass(frozen=True)
class LandmarkCorrespondences:
    """For each of `YAWS` and each landmark: a vertex, a small offset from it, and their deviation.

    Attributes:
        vertex: of the space.
        offset: from the vertex to the point that the landmark shows, scene units.
        deviation: root mean square distance per axis between that point's projection and the
            landmark found, scene units in the picture's plane.
    """

    vertex: Int[Tensor, "S L"]
    offset: Float[Tensor, "S L 3"]
    deviation: Float[Tensor, "S L"]

    @classmethod
    def fixed(cls, vertex: Int[Tensor, " L"], deviation: float) -> LandmarkCorrespondences:
        """Landmarks that are vertices, the same from every side.

        Args:
            vertex: of the space.
            deviation: of the landmarks from them, scene units in the picture's plane.
        """
        sides = vertex.long().expand(len(YAWS), -1)
        offset = torch.zeros(*sides.shape, 3, device=vertex.device)
        return cls(sides, offset, torch.full_like(offset[..., 0], deviation))

    @classmethod
    def of(
        cls, space: FaceModel, finder: Finder, root: Path | None = None
    ) -> LandmarkCorrespondences:
        """The map of a space, found once and kept in the cache.

        Args:
            space: whole, with what surrounds the face.
            finder: finds the landmarks in pictures of the space.
            root: folder of caches; None is the suite's.

        Raises:
            UserError: the cache cannot be written.
        """
        known = f"{VERSION} {YAWS} {PICTURES} {IMAGE_SIZE} {finder.label} {space.fingerprint}"
        name = f"{space.name}-{hashlib.sha256(known.encode()).hexdigest()[:16]}.safetensors"
        path = (root or cache_dir()) / "landmark-maps" / name
        if path.is_file():
            try:
                return cls(**load_file(path))
            except (SafetensorError, OSError, TypeError):
                path.unlink()  # damaged: found anew
        built = cls.find(space, finder)
        with write_errors(path), atomic_write(path) as temporary:
            save_file({key: value.contiguous() for key, value in vars(built).items()}, temporary)
        return built

    @classmethod
    @torch.inference_mode()
    def find(
        cls, space: FaceModel, finder: Finder, pictures: int = PICTURES
    ) -> LandmarkCorrespondences:
        """Find it from pictures of random faces of the space."""
        rng = torch.Generator().manual_seed(0)
        sides = []
        for yaw in YAWS:
            seen = [_look(space, finder, yaw, rng) for _ in range(-(-pictures // BATCH))]
            sides.append(_side(*(torch.cat(parts) for parts in zip(*seen, strict=True))))
        return cls(*(torch.stack(parts) for parts in zip(*sides, strict=True)))

    def at(self, yaw: Float[Tensor, " B"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Sides (B,) that a yaw in degrees lies between, and their weights (B,)."""
        step = YAWS[1] - YAWS[0]
        place = ((yaw.detach() - YAWS[0]) / step).clamp(0, len(YAWS) - 1 - 1e-4)
        low = place.floor()
        yield low.long(), 1 - (place - low)
        yield low.long() + 1, place - low

    def to(self, device: torch.device | str) -> LandmarkCorrespondences:
        """The same map on another device."""
        return LandmarkCorrespondences(
            *(x.to(device) for x in (self.vertex, self.offset, self.deviation))
        )


def _look(
    space: FaceModel, finder: Finder, yaw: float, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Look at random faces from about one side.

    Returns, for the N faces found: the vertices' projections (N, V, 2) and what they move by in
    the picture's plane with a step in the model's space (N, 2, 3); which were seen (N, V); the
    landmarks (N, L, 2). In scene units at the faces' own scale.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(BATCH, *shape, generator=rng)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(BATCH, generator=rng)

    shape, colour = space.vertices(normal(space.num_shape)), space.colours(normal(space.num_colour))
    view = View(yaw + between(-10, 10), 9 * normal(), 4 * normal(), 0.002 * normal(3))
    slopes = normal(2) * torch.tensor([0.7, 0.4]) + torch.tensor([0.0, -0.35])
    direction = torch.nn.functional.normalize(torch.cat((slopes, -torch.ones(BATCH, 1)), 1), dim=1)
    light = LambertLight(between(0.3, 0.6), between(0.4, 0.8), direction)
    scale = between(0.8, 1.2)
    posed = view.transform(shape * scale[:, None, None] + torch.tensor(CENTRE))
    camera = PinholeCamera(IMAGE_SIZE)
    drawn = render_mesh(
        posed,
        space.faces,
        VertexColours(colour.clamp(-1, 1)),
        camera,
        light=light,
        supersample=2,
        cull_backfaces=True,
    )
    images = drawn.over(background(normal(8), IMAGE_SIZE))
    landmarks, found = finder(images.clamp(-1, 1))
    assert drawn.fragments is not None

    seen = torch.zeros(BATCH * len(space.faces) + 1, dtype=torch.bool)
    seen[drawn.fragments.pix_to_face.view(-1)] = True  # -1, nothing, is the last
    seen = seen[:-1].view(BATCH, -1)
    corners = space.faces.t().reshape(1, -1).expand(BATCH, -1)
    times = torch.zeros(BATCH, len(space.mean)).scatter_add(1, corners, seen.repeat(1, 3).float())
    unit = (scale * camera.focal)[:, None, None]
    measured = (camera.project(posed) / unit, view.rotation_matrix()[:, :2], times > 0)
    return *(each[found] for each in measured), (landmarks / unit)[found]  # type: ignore[return-value]


def _side(
    projected: Tensor, plane: Tensor, seen: Tensor, landmarks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices (L,), offsets (L, 3) and deviations (L,) that explain the landmarks best."""
    vertices, offsets, deviations = [], [], []
    candidates = (seen.float().mean(0) > 0.25).nonzero().squeeze(1)
    for target in landmarks.unbind(1):
        away = (target[:, None] - projected[:, candidates]).norm(dim=2)
        # the median, as landmarks are far off now and then
        chosen = candidates[away.median(0).values.argmin()]
        error = target - projected[:, chosen]
        usual = error.norm(dim=1).median()
        weight = 1 / (1 + (error.norm(dim=1) / (2 * usual)).square())
        a = (weight[:, None, None] * plane).flatten(0, 1)
        normal = a.T @ plane.flatten(0, 1) + 0.1 * len(target) * torch.eye(3)
        offset = torch.linalg.solve(normal, a.T @ error.flatten())
        rest = (error - plane @ offset).square().sum(1)
        weight = 1 / (1 + rest / (9 * rest.median())).square()
        vertices.append(chosen)
        offsets.append(offset)
        deviations.append(((weight * rest).sum() / weight.sum() / 2).sqrt())
    return torch.stack(vertices), torch.stack(offsets), torch.stack(deviations)
