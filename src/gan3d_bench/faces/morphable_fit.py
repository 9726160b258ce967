"""Fitting a morphable model to single pictures of faces: depth, pose, albedo and light.

The reference for real faces, whose truth nobody knows. Two stages, each towards the maximum of the
posterior under the model's prior: landmarks by Gauss-Newton, then landmarks and pixels together by
Adam through the differentiable rasterizer (analysis by synthesis, Blanz and Vetter 1999; light by
spherical harmonics as Deng et al. 2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_bench.faces import landmark_correspondences as landmark_map
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_correspondences import CENTRE
from gan3d_bench.faces.landmark_fit import POSE, LandmarkFit, place, pose_view, robust
from gan3d_bench.faces.landmark_sources import Landmarks106Source, LandmarkSource
from gan3d_bench.geometry.basel import open_model
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.images import resize
from gan3d_bench.rendering.mesh import MeshRendering, VertexColours, render_mesh
from gan3d_bench.rendering.rasterizer import Engine
from gan3d_bench.rendering.shading import SphericalHarmonicsLight
from gan3d_bench.scenes.mesh import MeshScene

# Raise it when fitting changes, so that stored fits are not read.
VERSION = 1
WHITE = 0.8  # constant band of the light that a fit starts from, as the BFM fits'
ERROR_SIZE = 256  # side of the pictures whose pixels landmark errors are given in
POSE_STEPS = (0.1, 0.1, 0.1, 0.002, 0.002, 0.05)
"""Of the pose's entries, where weights move by 1."""
LIGHT_STEP = 0.3


@dataclass(frozen=True)
class FitConfig:
    """How faces are fitted.

    Attributes:
        image_size: pixels per side at which colours are compared.
        iterations: Gauss-Newton steps on the landmarks.
        steps: Adam steps on landmarks and colours; 0 leaves the second stage out.
        lr: of them, in standard deviations of a weight.
        looseness: deviations of landmarks are those on the model's own pictures times this: their
            errors go together, and real faces differ from the model's.
        colour_deviation: of pixels from the model, in units of [-1, 1].
        independent_pixels: as how many a face counts: errors of neighbours go together.
        light_deviation: of the light's coefficients from white light from everywhere.
        fov: of the camera, degrees.
        engine: see `rasterize`.
    """

    image_size: int = 128
    iterations: int = 12
    steps: int = 80
    lr: float = 0.1
    looseness: float = 2.0
    colour_deviation: float = 0.15
    independent_pixels: float = 300.0
    light_deviation: float = 0.3
    fov: float = 10.0
    engine: Engine = "auto"


@dataclass(frozen=True)
class FaceFit:
    """B faces; where none was found all numbers are NaN.

    Attributes:
        found: where a face was found.
        pose: see `landmark_fit.POSE`.
        shape, colour: weights in the `FaceModel`.
        light: as `SphericalHarmonicsLight`.
        landmark_error: root mean square distance of the landmarks, pixels of 256.
        colour_error: mean absolute difference over the skin, in units of [-1, 1].
    """

    found: Bool[Tensor, " B"]
    pose: Float[Tensor, "B 6"]
    shape: Float[Tensor, "B K"]
    colour: Float[Tensor, "B A"]
    light: Float[Tensor, "B 3 9"]
    landmark_error: Float[Tensor, " B"]
    colour_error: Float[Tensor, " B"]

    @classmethod
    def nowhere(cls, count: int, space: FaceModel) -> FaceFit:
        """Of pictures without a face."""

        def unknown(*shape: int) -> Tensor:
            return space.mean.new_full((count, *shape), torch.nan)

        found = torch.zeros(count, dtype=torch.bool, device=space.mean.device)
        shape, colour = unknown(space.num_shape), unknown(space.num_colour)
        return cls(found, unknown(POSE), shape, colour, unknown(3, 9), unknown(), unknown())

    @classmethod
    def join(cls, parts: Sequence[FaceFit]) -> FaceFit:
        """One batch of several."""
        rows = zip(*(part.tensors().values() for part in parts), strict=True)
        return cls(*(torch.cat(row) for row in rows))

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: slice | Tensor) -> FaceFit:
        """Choose some of the B faces."""
        return FaceFit(*(value[index] for value in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name, to be stored."""
        return {field.name: getattr(self, field.name).contiguous() for field in fields(self)}

    def to(self, device: torch.device | str) -> FaceFit:
        """The same fits on another device."""
        return FaceFit(*(value.to(device) for value in self.tensors().values()))

    @property
    def view(self) -> View:
        """Views (B): the model is turned about its origin, which lies at depth 1."""
        return pose_view(self.pose)

    @property
    def scale(self) -> Float[Tensor, " B"]:
        """Of the model: a single picture does not tell size and distance apart."""
        return self.pose[:, 5].exp()


class MorphableFit:
    """Fits a morphable model to pictures with one face each, such as FFHQ's.

    About 1.2 seconds a face on one CPU core, 0.1 of them for the landmarks. On 16 rendered heads at
    256 pixels: normalised depth error 0.24; yaw, pitch and roll off by 1.1, 2.4 and 0.3 degrees on
    average, the set's mean error taken away (``tools/measure_morphable_fit.py``). By landmarks
    alone the depth error was 0.31 against 0.23 on 10 of them.

    Args:
        model: None is the bundled head model; a path is that of a Basel Face Model
            (`geometry.basel.load_basel`). A `FaceModel` must be whole.
        config: how.
        source: of the landmarks; None opens the assets ``scrfd-500m`` and ``landmarks-106``. Where
            a network's landmarks are on the model is found out on the model's own pictures, in a
            minute or some, and kept in the cache.
        device: where to compute.
        root: folder of caches; None is the suite's.

    Attributes:
        label: the reference in words, for tables.
        fingerprint: identifies model, landmarks and config.
        whole: the model's whole space, camera axes.
        space: the region of the face that is drawn, of the same weights.

    Raises:
        UserError: an asset or the model is missing or damaged, or the cache cannot be written.
    """

    def __init__(
        self,
        model: FaceModel | MorphableModel | str | Path | None = None,
        config: FitConfig | None = None,
        *,
        source: LandmarkSource | None = None,
        device: torch.device | str = "cpu",
        root: Path | None = None,
    ) -> None:
        self.config = config or FitConfig()
        self.source = source or Landmarks106Source()
        space = model if isinstance(model, FaceModel) else open_space(model)
        landmarks = self.source.on(space, root)
        self.landmarks = LandmarkFit(
            space, landmarks, self.config.looseness, device, self.source.scale_deviation
        )
        self.whole, self.space = space.to(device), space.region().to(device)
        self.label = f"{space.name} model, {self.source.name} and pixels"
        versions = (VERSION, landmark_map.VERSION, self.source.label)
        known = (*versions, self.config, space.fingerprint, self.space.fingerprint)
        digest = hashlib.sha256(" ".join(map(str, known)).encode()).hexdigest()
        self.fingerprint = f"{space.name}-{digest[:16]}"

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "B 3 S S"]) -> FaceFit:
        """Fit the largest face of each image, RGB in [-1, 1]."""
        images = images.to(self.space.mean.device, torch.float32)
        points, found = self.source(images)
        result = FaceFit.nowhere(len(images), self.space)
        if found.any():
            plane = self.plane(points[found], images.shape[-1])
            fitted = self.fit(images[found], plane).tensors()
            for name, values in fitted.items():
                getattr(result, name)[found] = values
        return result

    def plane(self, points: Float[Tensor, "B L 2"], image_size: int) -> Float[Tensor, "B L 2"]:
        """Pixels (x, y) of images in the plane at depth 1, as `LandmarkFit` takes them."""
        camera = PinholeCamera(image_size, self.config.fov)
        return (points - points.new_tensor(camera.centre)) / camera.focal

    def fit(self, images: Float[Tensor, "B 3 S S"], plane: Float[Tensor, "B L 2"]) -> FaceFit:
        """Fit faces whose landmarks are known; `plane` as `LandmarkFit` takes them."""
        config, count = self.config, len(images)
        images = resize(images, config.image_size)
        state = self.landmarks(plane, config.iterations)
        white = state.new_zeros(count, 3, 9)
        white[..., 0] = WHITE
        unit = torch.cat((state.new_tensor(POSE_STEPS), torch.ones_like(state[0, POSE:])))
        zeros = (torch.zeros_like(state), state.new_zeros(count, self.space.num_colour), white * 0)
        steps = [x.requires_grad_() for x in zeros]

        def moved() -> tuple[Tensor, Tensor, Tensor]:
            return state + unit * steps[0], steps[1], white + LIGHT_STEP * steps[2]

        optimiser = torch.optim.Adam(steps, lr=config.lr, betas=(0.9, 0.98))
        decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, max(config.steps, 1))
        for _ in range(config.steps):
            with torch.enable_grad():
                # faces do not depend on each other: each has the gradient of its own cost
                cost = self._cost(images, plane, *moved(), white).sum()
            optimiser.zero_grad()
            cost.backward()
            optimiser.step()
            decay.step()
        state, colour, light = (value.detach() for value in moved())
        focal = PinholeCamera(ERROR_SIZE, config.fov).focal
        far = focal * self.landmarks.errors(state, plane)
        difference, skin = self._differences(images, state, colour, light)
        return FaceFit(
            torch.ones(count, dtype=torch.bool, device=state.device),
            state[:, :POSE],
            state[:, POSE:],
            colour,
            light,
            far.square().sum(2).mean(1).sqrt(),
            _mean(difference.abs().mean(1, keepdim=True), skin),
        )

    def render(self, fit: FaceFit, image_size: int, *, supersample: int = 2) -> MeshRendering:
        """Render fitted faces as they are seen in their own pictures.

        Args:
            fit: on this object's device.
            image_size: side of the picture; its frame is that of the picture fitted to.
            supersample: sub-pixels along each axis.
        """
        colours = self.space.colours(fit.colour).clamp(-1, 1)
        return self._render(fit.pose, fit.shape, colours, fit.light, image_size, supersample)

    def scene(self, fit: FaceFit, image_size: int) -> MeshScene:
        """Fitted faces on the whole of their model, with their own light.

        Args:
            fit: on this object's device.
            image_size: side of the scene's pictures; its frame is that of the picture fitted to.
        """
        view = fit.view
        vertices = self.whole.vertices(fit.shape) * fit.scale[:, None, None]
        return MeshScene(
            vertices + vertices.new_tensor(CENTRE),
            self.whole.faces,
            VertexColours(self.whole.colours(fit.colour).clamp(-1, 1)),
            PinholeCamera(image_size, self.config.fov),
            SphericalHarmonicsLight(fit.light).in_scene(view),
            view,
            cull_backfaces=True,
        )

    def _render(
        self,
        pose: Tensor,
        shape: Tensor,
        colours: Tensor,
        light: Tensor,
        image_size: int,
        supersample: int = 1,
    ) -> MeshRendering:
        return render_mesh(
            place(pose, self.space.vertices(shape)),
            self.space.faces,
            VertexColours(colours),
            PinholeCamera(image_size, self.config.fov),
            light=SphericalHarmonicsLight(light),
            supersample=supersample,
            cull_backfaces=True,
            engine=self.config.engine,
        )

    def _cost(
        self,
        images: Tensor,
        plane: Tensor,
        state: Tensor,
        colour: Tensor,
        light: Tensor,
        white: Tensor,
    ) -> Float[Tensor, " B"]:
        """Minus the logarithm of the posterior, but for a constant."""
        config = self.config
        difference, skin = self._differences(images, state, colour, light)
        far = (difference / config.colour_deviation).square().sum(1, keepdim=True)
        bands = (light - white) / config.light_deviation
        grey = bands.mean(1, keepdim=True)
        # coloured light is rare
        unlikely = grey.square().sum((1, 2)) + 4 * (bands - grey).square().sum((1, 2))
        return (
            self.landmarks.cost(state, plane)
            + config.independent_pixels * _mean(robust(far), skin)
            + (colour.square().sum(1) + unlikely) / 2
        )

    def _differences(
        self, images: Tensor, state: Tensor, colour: Tensor, light: Tensor
    ) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 1 H W"]]:
        """Drawn colours less the images', and where the skin is drawn."""
        space, size = self.space, images.shape[-1]
        drawn = self._render(state[:, :POSE], state[:, POSE:], space.colours(colour), light, size)
        assert drawn.fragments is not None
        face = drawn.fragments.pix_to_face.movedim(-1, 1)
        skin = (face >= 0) & space.on_skin[face % len(space.faces)]
        return drawn.over(-1.0) - images, skin.to(images.dtype)


def open_space(model: MorphableModel | str | Path | None = None) -> FaceModel:
    """The space of a morphable model: None is the bundled heads, a path a Basel Face Model's.

    Raises:
        UserError: the model is missing or damaged.
    """
    return FaceModel.of(model if isinstance(model, MorphableModel) else open_model(model))


def _mean(values: Float[Tensor, "B 1 H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    return (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)
