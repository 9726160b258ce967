"""The paper's figures of what stylecodes do: manipulation, interpolation, style transfer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import interpolated
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.liftedgan.image_formation import (
    CanonicalFactors,
    Lifter,
    light_from_raw,
    neutral_light,
    remove_shading,
    view_from_raw,
)
from gan3d_bench.methods.liftedgan.losses import perturbed_view
from gan3d_bench.methods.liftedgan.scene import lift, scene_from_factors
from gan3d_bench.pictures.grids import Column, colour_on_white, unit_range
from gan3d_bench.pictures.scene_sheets import (
    YAWS,
    Sheet,
    degree_label,
    interleaved,
    row_names,
)

INTERPOLATION_STEPS = 7  # of an interpolation
SIDE_YAW = 30.0  # degrees of yaw at which interpolated subjects are shown again
STYLE_YAWS = (-40.0, -20.0, 0.0, 20.0, 40.0)
OWN_LAYERS = (0.3, 0.5)  # shares of the layers whose stylecodes are the subject's own


def manipulation_sheet(lifter: Lifter, generator: Generator, w: Tensor) -> Sheet:
    """Figures 3 and 4 (a): what M and the 2D generator make of views, above the 3D subjects.

    Args:
        lifter: the networks.
        generator: the teacher.
        w: (B, w_dim).
    """
    light, _ = lifter.decompose(w)
    scene = lift(lifter, w)
    columns = []
    for yaw in YAWS:
        raw = training_view(yaw, len(w)).to(w)
        generated = generator.synthesis(lifter.manipulate(w, light, raw))
        rows = [unit_range(generated), colour_on_white(scene.render(view_from_raw(raw)))]
        columns.append(Column(f"yaw {degree_label(yaw)}", interleaved(rows)))
    return Sheet([columns], row_names(len(w), ("in 2D", "in 3D")))


def training_view(yaw: float, count: int) -> Tensor:
    """Raw views (count, 6) of a yaw in degrees, with the sideways move of those in training."""
    bound = abs(yaw) or 1.0
    uniform = torch.full((count, 3), 0.5 - 0.5 * yaw / bound)  # raw angles are minus ours
    return perturbed_view(uniform, 0.0, bound)


def interpolation_sheet(lifter: Lifter, w: Tensor) -> Sheet:
    """Figure 6: from each subject to the next, at the views the stylecodes show and turned.

    Args:
        lifter: the networks.
        w: (B, w_dim), two or more.
    """
    between = interpolated(w, INTERPOLATION_STEPS)
    columns = []
    for i, codes in enumerate(between.unbind(1)):
        scene = lift(lifter, codes)
        assert scene.input_view is not None
        turned = View.from_angles([SIDE_YAW] * len(codes))
        rows = [colour_on_white(scene.render(view)) for view in (scene.input_view, turned)]
        columns.append(Column(f"{i / (INTERPOLATION_STEPS - 1):.0%}", interleaved(rows)))
    names = [
        f"{i} to {i + 1}{kind}"
        for i in range(1, len(w))
        for kind in ("", f", {degree_label(SIDE_YAW)}")
    ]
    return Sheet([columns], names)


def style_sheet(
    lifter: Lifter,
    generator: Generator,
    w: Tensor,
    styles: Tensor,
    pictures: Tensor | None = None,
) -> Sheet:
    """Figure 10: a subject from several sides, below with the styles of others.

    The first column shows whose style it is, the first row whose geometry.

    Args:
        lifter: the networks.
        generator: the teacher.
        w: (1, w_dim) the subject.
        styles: (K, w_dim).
        pictures: (K, 3, H, W) in [-1, 1] that the styles were embedded from; None shows what the
            teacher makes of them.
    """
    count, geometry = len(styles), lifter.geometry
    shown = unit_range(generator.synthesis(styles) if pictures is None else pictures)
    first = Column("style", torch.cat((unit_range(generator.synthesis(w)), shown)))
    light, view = lifter.decompose(w)
    subject = lifter.canonical(w, light)
    groups: list[Sequence[Column]] = [[first]]
    for kept in OWN_LAYERS:
        layers = round(kept * generator.num_ws)
        made = style_transfer(lifter, generator, subject, light, styles, layers)
        scenes = [
            scene_from_factors(subject, light, view, geometry),
            scene_from_factors(made, light.expand(count, -1), view.expand(count, -1), geometry),
        ]
        columns = []
        for yaw in STYLE_YAWS:
            seen = [
                colour_on_white(s.render(View.from_angles([yaw] * s.batch_size))) for s in scenes
            ]
            columns.append(Column(f"layers {layers}+, {degree_label(yaw)}", torch.cat(seen)))
        groups.append(columns)
    return Sheet(groups, ["1", *(f"style {i + 1}" for i in range(count))])


def style_transfer(
    lifter: Lifter,
    generator: Generator,
    subject: CanonicalFactors,
    light: Tensor,
    styles: Tensor,
    layers: int,
) -> CanonicalFactors:
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
    return CanonicalFactors(
        w=subject.w.expand(count, -1),
        neutral=picture,
        depth=depth,
        normal=normal,
        albedo=remove_shading(picture, normal, light_from_raw(front)),
        blend=None if subject.blend is None else subject.blend.expand(count, -1, -1, -1),
    )
