"""The parts a run is put together of, each alone: groups, phases, kept samples, the objective."""

from __future__ import annotations

from typing import Any

import torch

from gan3d_bench.config import compose
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig, LossConfig
from gan3d_bench.methods.gan2shape.factors import (
    Factors,
    join_factors,
    light_from_raw,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.groups import Groups, shuffled_part
from gan3d_bench.methods.gan2shape.objective import Objective
from gan3d_bench.methods.gan2shape.photogeometry import Renderer
from gan3d_bench.methods.gan2shape.projection import ProjectedSamples, PseudoSamples
from gan3d_bench.methods.gan2shape.schedule import GroupSteps, group_phases
from gan3d_bench.methods.gan2shape.spec import SPEC
from gan3d_bench.rendering.cameras import PinholeCamera

SIZE, TARGETS, SAMPLES = 16, 2, 3
SHARE = "share=[view,light,encoder]"
RENDERER = Renderer(PinholeCamera(SIZE))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=rng(seed))


def test_groups_cover_the_instances_in_order():
    groups = Groups(7, 3)
    assert list(groups) == [range(3), range(3, 6), range(6, 7)]
    assert groups.slots([3, 5, 6]) == [0, 2, 0]
    assert [groups.prefix(1), Groups(3, 3).prefix(0)] == ["group 2/3, ", ""]


def test_parts_of_a_shuffled_pass_hold_every_instance_once():
    parts = [shuffled_part(range(10, 16), part, 2, rng(1)) for part in range(3)]
    assert sorted(i for part in parts for i in part) == list(range(10, 16))
    assert [i for part in parts for i in part] != list(range(10, 16))
    assert all(part == sorted(part) for part in parts)


def nothing(*_: Any) -> Any:
    return None


STEPS = GroupSteps(
    **{key: nothing for key in GroupSteps.__dataclass_fields__ if key not in ("step1", "step3")},
    step1=lambda stage: nothing,
    step3=lambda stage: nothing,
)


def trained(*overrides: str) -> dict[str, tuple[str, ...]]:
    """Which modules each phase of a group trains, by the phase's name."""
    config = compose(SPEC, "check", None, overrides)
    assert isinstance(config, GAN2ShapeConfig)
    return {
        phase.name: tuple(name for item in phase.trainable.values() for name in item.modules)
        for phase in group_phases(config, range(4, 7), "g, ", STEPS)
        if phase.steps
    }


def test_what_trains_in_each_phase():
    assert trained("data=heads", "inversion.batch=2", "stages=1", "warmup.pose=5", SHARE) == {
        "g, inversion 1/2": ("latents",),
        "g, inversion 2/2": ("latents",),
        "g, prior": ("networks.depth_net",),
        "g, warm-up, pose": ("networks.view_net", "networks.light_net"),
        "g, stage 1/1, step 1": ("networks.albedo_net",),
        "g, stage 1/1, step 2": ("networks.encoder",),
        "g, stage 1/1, step 3": (
            *("networks.depth_net", "networks.albedo_net"),
            *("networks.view_net", "networks.light_net"),
        ),
    }
    assert "g, prior" not in trained("start=gan2shape-heads-64")


def test_kept_samples_come_back_by_slot_and_number():
    kept = ProjectedSamples(3, 5, 4)
    images = noise(4, 3, 4, 4).clamp(-1, 1)
    masks = (noise(4, 1, 4, 4, seed=1) > 0).float()
    kept.put([2, 0], 3, PseudoSamples(images, masks))
    found = kept.take([0, 2], torch.tensor([[4, 0], [3, 4]]))
    torch.testing.assert_close(found.images[[0, 2, 3]], images[[3, 0, 1]], atol=1e-3, rtol=0)
    assert torch.equal(found.masks[[0, 2, 3]], masks[[3, 0, 1]])
    assert not found.images[1].any()
    kept.clear()
    assert not kept.take([0, 2], torch.tensor([[4], [3]])).images.any()


def squares(x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return ((x - y) * mask).square().mean((1, 2, 3))


def squares_from(y: torch.Tensor):
    """Distances of images and masks from fixed images (..., 3, S, S), as the objective takes."""
    return lambda x, mask: squares(x, y.reshape(-1, *y.shape[-3:]), mask)


OBJECTIVE = Objective(LossConfig(), RENDERER, lambda: squares)  # type: ignore[arg-type, return-value]


def outputs() -> dict[str, torch.Tensor]:
    """What networks give for two targets and three projected samples of each."""
    line = torch.linspace(-1, 1, SIZE)
    bump = 1.02 - 0.05 * torch.exp(-(line**2 + (line[:, None] - 0.3) ** 2))
    return {
        "depth": torch.stack((bump, bump + 0.002 * line))[:, None],
        "albedo": torch.tanh(noise(TARGETS, 3, SIZE, SIZE)),
        "view": 0.1 * noise(TARGETS, 1 + SAMPLES, 6, seed=1),
        "light": 0.3 * noise(TARGETS, 1 + SAMPLES, 4, seed=2),
    }


def factors(given: dict[str, torch.Tensor], k: int, i: int) -> Factors:
    """Of target k, at the view and light of its image i."""
    depth, albedo, view, light = given["depth"], given["albedo"], given["view"], given["light"]
    return Factors(
        depth[k : k + 1],
        albedo[k : k + 1],
        RENDERER.normals(depth[k : k + 1]),
        view_from_raw(view[k, i : i + 1]),
        light_from_raw(light[k, i : i + 1]),
    )


def test_step_3_is_zero_for_what_the_networks_show():
    """Rendered one by one; a wrong sample counts unless its mask hides it."""
    given = outputs()
    images = torch.stack(
        [
            torch.cat([RENDERER.render(factors(given, k, i)).image for i in range(1 + SAMPLES)])
            for k in range(TARGETS)
        ]
    )
    target, projected = images[:, 0], images[:, 1:].clone()
    masks = torch.ones(TARGETS, SAMPLES, 1, SIZE, SIZE)

    def step3(flip: bool = False) -> dict[str, torch.Tensor]:
        return OBJECTIVE.step3(
            **given, target=target, target_mask=torch.ones(1, 1, 1, 1), projected=projected,
            projected_masks=masks, from_target=squares_from(target),
            from_projected=squares_from(projected), flip=flip,
        )  # fmt: skip

    terms = step3()
    images_compared = {"target_l1", "target_perceptual", "projected_l1", "projected_perceptual"}
    assert terms.keys() == images_compared | {"smooth"}
    assert max(float(terms[key]) for key in images_compared) < 1e-5
    assert float(step3(flip=True)["target_l1_mirrored"]) > 0.1
    projected[1, 2] = -projected[1, 2]
    assert float(step3()["projected_l1"]) > 0.01
    masks[1, 2] = 0
    assert float(step3()["projected_l1"]) < 1e-5


def test_step_1_has_the_gradients_of_step_3_on_albedo():
    """The geometry that step 1 holds fixed renders what the whole model renders."""
    given = outputs()
    target = torch.tanh(noise(TARGETS, 3, SIZE, SIZE, seed=5))
    mask = torch.ones(1, 1, 1, 1)
    others = target[:, None].expand(-1, SAMPLES, -1, -1, -1)
    whole = given["albedo"].clone().requires_grad_()
    expected = OBJECTIVE.step3(
        **{**given, "albedo": whole}, target=target, target_mask=mask,
        projected=others, projected_masks=torch.zeros(TARGETS, SAMPLES, 1, SIZE, SIZE),
        from_target=squares_from(target), from_projected=squares_from(others), flip=True,
    )  # fmt: skip
    compared = [key for key in expected if key.startswith("target")]
    torch.stack([expected[key] for key in compared]).sum().backward()

    alone = given["albedo"].flip(0).clone().requires_grad_()
    geometry = OBJECTIVE.fixed_geometry(
        join_factors([factors(given, 0, 0), factors(given, 1, 0)]), flip=True
    )
    found = OBJECTIVE.step1(
        alone, geometry, [1, 0], target.flip(0), mask, squares_from(target.flip(0))
    )
    assert list(found) == compared
    torch.stack(list(found.values())).sum().backward()
    assert alone.grad is not None
    assert whole.grad is not None
    assert whole.grad.any()
    torch.testing.assert_close(alone.grad.flip(0), whole.grad, atol=1e-6, rtol=1e-4)
