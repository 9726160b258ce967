"""The phases of a group: inversion, prior, warm-up, then steps 1 to 3 of every stage.

What trains in each phase, for how long and at what rate; what a step computes is not said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Adam

from gan3d_bench.generators.inversion.projection import learning_rate_factor
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.phases import Phase, Trainable

# A step of a phase, called with the next batch: there is none.
Step = Callable[[Any], Mapping[str, Tensor]]
Hook = Callable[[], None]


@dataclass(frozen=True)
class GroupSteps:
    """What the phases of one group call.

    Attributes:
        begin_inversion: before the search for the stylecodes of some instances.
        invert: a step of that search.
        end_inversion: after it.
        fit_prior: a step that fits D to the prior.
        warm_up_encoder, warm_up_lifted, warm_up_pose: steps of the warm-up.
        find_directions: between these, before V and L train.
        step1, step3: makes step 1 or 3 of a stage (from 0).
        step2: step 2.
        collect: after step 2: makes the samples of step 3.
        store: after step 3: keeps its result.
    """

    begin_inversion: Callable[[range], None]
    invert: Callable[[range, Any], Mapping[str, Tensor]]
    end_inversion: Callable[[range], None]
    fit_prior: Step
    warm_up_encoder: Step
    warm_up_lifted: Step
    warm_up_pose: Step
    find_directions: Hook
    step1: Callable[[int], Step]
    step2: Step
    step3: Callable[[int], Step]
    collect: Hook
    store: Hook


def group_phases(
    config: GAN2ShapeConfig, group: range, prefix: str, steps: GroupSteps
) -> list[Phase]:
    """The phases of a group.

    Args:
        config: of the run.
        group: its instances.
        prefix: what the phases' names begin with.
        steps: what the phases call.
    """
    return [
        *_inversion_phases(config, group, prefix, steps),
        Phase(
            f"{prefix}prior",
            0 if config.start else config.prior.steps,
            {"depth": _adam(config, "depth_net", config.lr.prior)},
            steps.fit_prior,
        ),
        *_warm_up_phases(config, prefix, steps),
        *(
            phase
            for stage in range(config.stages)
            for phase in _stage_phases(config, stage, prefix, steps)
        ),
    ]


def _inversion_phases(
    config: GAN2ShapeConfig, group: range, prefix: str, steps: GroupSteps
) -> list[Phase]:
    """A few images at a time; none where the stylecodes are known."""
    if config.data == "teacher" or config.latents:
        return []
    inversion = config.inversion
    parts = [group[i : i + inversion.batch] for i in range(0, len(group), inversion.batch)]
    search = Trainable(
        ("latents",), partial(Adam, lr=inversion.lr), partial(learning_rate_factor, inversion)
    )
    return [
        Phase(
            f"{prefix}inversion" + (f" {i + 1}/{len(parts)}" if len(parts) > 1 else ""),
            inversion.steps,
            {"latents": search},
            partial(steps.invert, part),
            begin=partial(steps.begin_inversion, part),
            end=partial(steps.end_inversion, part),
        )
        for i, part in enumerate(parts)
    ]


def _warm_up_phases(config: GAN2ShapeConfig, prefix: str, steps: GroupSteps) -> list[Phase]:
    warmup, lr = config.warmup, config.lr
    encoder = {"encoder": _adam(config, "encoder", lr.step2)}
    pose = {name: _adam(config, f"{name}_net", lr.warmup) for name in ("view", "light")}
    return [
        Phase(f"{prefix}warm-up, encoder", warmup.encoder, encoder, steps.warm_up_encoder),
        Phase(f"{prefix}warm-up, lifted samples", warmup.lifted, encoder, steps.warm_up_lifted),
        Phase(
            f"{prefix}warm-up, pose",
            warmup.pose,
            pose,
            steps.warm_up_pose,
            begin=steps.find_directions,
        ),
    ]


def _stage_phases(
    config: GAN2ShapeConfig, stage: int, prefix: str, steps: GroupSteps
) -> list[Phase]:
    lengths = config.steps.first if stage == 0 else config.steps.later
    lr = config.lr
    name = f"{prefix}stage {stage + 1}/{config.stages}, step"
    return [
        Phase(
            f"{name} 1",
            lengths.step1,
            {"albedo": _adam(config, "albedo_net", lr.step1)},
            steps.step1(stage),
        ),
        Phase(
            f"{name} 2",
            lengths.step2,
            {"encoder": _adam(config, "encoder", lr.step2)},
            steps.step2,
            end=steps.collect,
        ),
        Phase(
            f"{name} 3",
            lengths.step3,
            {
                key: _adam(config, f"{key}_net", getattr(lr, key))
                for key in ("depth", "albedo", "view", "light")
            },
            steps.step3(stage),
            end=steps.store,
        ),
    ]


def _adam(config: GAN2ShapeConfig, network: str, lr: float) -> Trainable:
    optimizer = partial(Adam, lr=lr, weight_decay=config.weight_decay, fused=True)
    return Trainable((f"networks.{network}",), optimizer)
