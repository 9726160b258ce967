"""What a method shows, and what must be true of it: shapes, ranges, what it claims it can do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight, Light
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import SAMPLE, MethodSpec
from gan3d_bench.training.callbacks import evaluation_mode

SUBJECTS = 2
TURNED = 40.0  # degrees of yaw at which the frame of a light shows
LIGHT_TOLERANCE = 0.05  # of shading: normals and shading are filtered apart


class Failed(Exception):
    """A check found what it must not find; the message says what."""


def scenes_of(method: Method, spec: MethodSpec, subjects: int = SUBJECTS) -> dict[str, Scene]:
    """Return what the method gives, by the name of the way it is got.

    The images to reconstruct are the first `subjects` of ``preview().images["input"]``.
    """
    scenes: dict[str, Scene] = {}
    preview = method.preview()
    if spec.samples:
        scenes[SAMPLE] = method.sample(subjects, torch.Generator().manual_seed(0))
    images = preview.images.get("input")
    for kind in spec.scenes:
        if kind == SAMPLE:
            continue
        if images is None:
            raise Failed("its preview has no images named 'input' to reconstruct")
        scenes[kind] = method.row_scene(kind, images[:subjects])
    if not scenes and preview.scene is not None:
        scenes["preview"] = preview.scene
    return scenes


def outputs(method: Method, spec: MethodSpec) -> dict[str, Tensor]:
    """Render every scene of a method from the front; the pictures by name.

    Of a method that makes no scenes (it claims none) the images of its preview.

    Raises:
        Failed: it gives neither.
    """
    with evaluation_mode(method):
        found = {
            f"{kind}/{name}": value.cpu()
            for kind, scene in scenes_of(method, spec).items()
            for name, value in vars(render(scene, 0.0)).items()
            if isinstance(value, Tensor)
        }
        if not found and not spec.scenes:
            found = {f"preview/{name}": x.cpu() for name, x in method.preview().images.items()}
            if not found:
                raise Failed("it gives neither scenes nor images in its preview")
        return found


def render(scene: Scene, yaw: float, **options: Any) -> Rendering:
    return scene.render(View.from_angles([yaw] * scene.batch_size), **options)


def check_rendering(what: str, scene: Scene, rendering: Rendering) -> None:
    batch, _, height, width = rendering.rgb.shape
    if batch != scene.batch_size:
        raise Failed(f"{what}: {batch} pictures of {scene.batch_size} subjects")
    channels = {"rgb": 3, "mask": 1, "depth": 1, "normal": 3, "albedo": 3}
    limits = {"rgb": (-1, 1), "mask": (0, 1), "normal": (-1, 1), "albedo": (-1, 1)}
    for name, count in channels.items():
        value = getattr(rendering, name)
        if value is None:
            continue
        if value.shape != (batch, count, height, width):
            raise Failed(f"{what}: {name} has shape {tuple(value.shape)}")
        if not torch.isfinite(value).all():
            raise Failed(f"{what}: {name} is not finite everywhere")
        low, high = limits.get(name, (float("-inf"), float("inf")))
        if value.min() < low - 1e-4 or value.max() > high + 1e-4:
            raise Failed(
                f"{what}: {name} is in [{value.min():.3g}, {value.max():.3g}], "
                f"expected [{low}, {high}]"
            )
    seen = rendering.mask.expand(batch, 1, height, width) > 0.5
    if not seen.flatten(1).any(1).all():
        raise Failed(f"{what}: nothing of a subject is in the picture")
    if rendering.depth is not None and (rendering.depth[seen] <= 0).any():
        raise Failed(f"{what}: depth behind the camera")


def check_capability(kind: str, scene: Scene, capability: str) -> None:
    if capability not in scene.capabilities:
        raise Failed(f"'{capability}' is claimed, but the {kind} scene does not have it")
    if capability == "relight":
        light = LambertLight.frontal(scene.batch_size)
        direction = torch.tensor([-0.8, 0.0, -0.6]).expand(scene.batch_size, 3)
        side = LambertLight(light.ambient, light.diffuse, direction)
        one, other = (render(scene, 0.0, light=choice).rgb for choice in (light, side))
        if torch.equal(one, other):
            raise Failed(f"the {kind} scene looks the same under two lights")
        check_light_frame(kind, render(scene, TURNED, light=side), side)
    elif capability == "mesh":
        mesh = scene.mesh(0)
        if not len(mesh.faces) or int(mesh.faces.max()) >= len(mesh.vertices):
            raise Failed(f"the {kind} scene's mesh has no faces, or faces without vertices")
    elif getattr(render(scene, 0.0), capability) is None:
        raise Failed(f"'{capability}' is claimed, but the {kind} scene's rendering lacks it")


def check_light_frame(kind: str, turned: Rendering, light: Light) -> None:
    """Fail unless a turned scene was shaded by its normals as the camera sees them."""
    if turned.normal is None or turned.shading is None:
        return
    error = (light.shade(turned.normal) - turned.shading).abs()
    seen = (turned.mask > 0.99).expand_as(error)
    if error[seen].median() > LIGHT_TOLERANCE:
        raise Failed(
            f"the {kind} scene at {TURNED:.0f} degrees: shading is {error[seen].median():.2f} off "
            "what its normals give; a light that is given is in camera space"
        )
