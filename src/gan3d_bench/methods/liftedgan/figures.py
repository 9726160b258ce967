"""The paper's figures of what stylecodes do: manipulation, interpolation, style transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import interpolated
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.liftedgan.image_formation import (
    Canonical,
    Lifter,
    delight,
    light_from_raw,
    neutral_light,
    view_from_raw,
)
from gan3d_bench.methods.liftedgan.losses import perturbed_view
from gan3d_bench.pictures.grids import Column, unit_range
from gan3d_bench.pictures.scene_sheets import YAWS, Sheet, alternating, colour, degrees, subjects

if TYPE_CHECKING:
    from gan3d_bench.methods.liftedgan.method import LiftedGAN

STOPS = 7  # of an interpolation
TURN = 30.0  # degrees of yaw at which interpolated subjects are shown again
STYLE_YAWS = (-40.0, -20.0, 0.0, 20.0, 40.0)
KEPT = (0.3, 0.5)  # shares of the layers whose stylecodes are the subject's own


def manipulation_sheet(method: LiftedGAN, w: Tensor) -> Sheet:
    """Figures 3 and 4 (a): what M and the 2D generator make of views, above the 3D subjects.

    Args:
        w: (B, w_dim).
    """
    light, _ = method.lifter.decompose(w)
    scene = method.lift(w)
    columns = []
    for yaw in YAWS:
        raw = training_view(yaw, len(w)).to(w)
        generated = method.generator.synthesis(method.lifter.manipulate(w, light, raw))
        rows = [unit_range(generated), colour(scene.render(view_from_raw(raw)))]
        columns.append(Column(f"yaw {degrees(yaw)}", alternating(rows)))
    return Sheet([columns], subjects(len(w), ("in 2D", "in 3D")))


def training_view(yaw: float, count: int) -> Tensor:
    """Raw views (count, 6) of a yaw in degrees, with the sideways move of those in training."""
    bound = abs(yaw) or 1.0
    uniform = torch.full((count, 3), 0.5 - 0.5 * yaw / bound)  # raw angles are minus ours
    return perturbed_view(uniform, 0.0, bound)


def interpolation_sheet(method: LiftedGAN, w: Tensor) -> Sheet:
    """Figure 6: from each subject to the next, at the views the stylecodes show and turned.

    Args:
        w: (B, w_dim), two or more.
    """
    between = interpolated(w, STOPS)
    columns = []
    for i, codes in enumerate(between.unbind(1)):
        scene = method.lift(codes)
        assert scene.input_view is not None
        turned = View.from_angles([TURN] * len(codes))
        rows = [colour(scene.render(view)) for view in (scene.input_view, turned)]
        columns.append(Column(f"{i / (STOPS - 1):.0%}", alternating(rows)))
    names = [
        f"{i} to {i + 1}{kind}" for i in range(1, len(w)) for kind in ("", f", {degrees(TURN)}")
    ]
    return Sheet([columns], names)


def style_sheet(
    method: LiftedGAN, w: Tensor, styles: Tensor, pictures: Tensor | None = None
) -> Sheet:
    """Figure 10: a subject from several sides, below with the styles of others.

    The first column shows whose style it is, the first row whose geometry.

    Args:
        w: (1, w_dim) the subject.
        styles: (K, w_dim).
        pictures: (K, 3, H, W) in [-1, 1] that the styles were embedded from; None shows what the
            teacher makes of them.
    """
    count, generator = len(styles), method.generator
    shown = unit_range(generator.synthesis(styles) if pictures is None else pictures)
    first = Column("style", torch.cat((unit_range(generator.synthesis(w)), shown)))
    light, view = method.lifter.decompose(w)
    subject = method.lifter.canonical(w, light)
    groups: list[Sequence[Column]] = [[first]]
    for kept in KEPT:
        layers = round(kept * generator.num_ws)
        made = restyled(method.lifter, generator, subject, light, styles, layers)
        scenes = [
            method.scene(subject, light, view),
            method.scene(made, light.expand(count, -1), view.expand(count, -1)),
        ]
        columns = []
        for yaw in STYLE_YAWS:
            seen = [colour(s.render(View.from_angles([yaw] * s.batch_size))) for s in scenes]
            columns.append(Column(f"layers {layers}+, {degrees(yaw)}", torch.cat(seen)))
        groups.append(columns)
    return Sheet(groups, ["1", *(f"style {i + 1}" for i in range(count))])


def restyled(
    lifter: Lifter,
    generator: Generator,
    subject: Canonical,
    light: Tensor,
    styles: Tensor,
    layers: int,
) -> Canonical:
    """Give one subject the styles of others; depth, normals and transformation map stay.

    Its neutral picture is made anew, the first layers by its own stylecode and the others by the
    neutral ones of the styles, and freed of its own light.

    Args:
        lifter: the networks.
        generator: the teacher.
        subject: one.
        light: (1, 4) its raw light.
        styles: (K, w_dim).
        layers: how many are its own; between 0 and num_ws.

    Returns:
        K subjects.
    """
    count = len(styles)
    front = neutral_light(lifter.decompose(styles)[0])
    neutral = lifter.manipulate(styles, front, styles.new_zeros(count, 6))
    mixed = mix_styles(subject.w.expand(count, -1), neutral, layers, generator.num_ws)
    picture = generator.synthesis(mixed).float()
    depth, normal = (x.expand(count, -1, -1, -1) for x in (subject.depth, subject.normal))
    front = neutral_light(light).expand(count, -1)
    return Canonical(
        w=subject.w.expand(count, -1),
        neutral=picture,
        depth=depth,
        normal=normal,
        albedo=delight(picture, normal, light_from_raw(front)),
        blend=None if subject.blend is None else subject.blend.expand(count, -1, -1, -1),
    )
