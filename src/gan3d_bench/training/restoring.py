"""From a checkpoint into a method: everything in it is checked before anything is loaded."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.methods.phases import PhasedMethod

SET_BY_SCHEDULES = ("lr", "initial_lr")
"""What of an optimiser's group changes while it trains."""


def restore(method: Method, checkpoint: dict[str, Any], path: Path) -> None:
    """Load the weights and progress in `checkpoint`, which came from `path`, into `method`.

    Raises:
        UserError: names, shapes or kinds of the weights differ (says how many and the first of
            each), or the progress is beyond the method's phases.
    """
    method.on_load_checkpoint(checkpoint)
    if isinstance(method, PhasedMethod):
        lengths = [phase.steps for phase in method.schedule]
        possible = [range(length) for length in lengths] + [range(1)]  # the last: finished
        index, step = method.phase_index, method.phase_step
        if index >= len(possible) or step not in possible[index]:
            raise UserError(
                f"{path}: does not fit this config: it stands at step {step} of phase {index + 1}, "
                f"the phases have {lengths} steps"
            )
    given, expected = checkpoint["state_dict"], method.state_dict()
    missing = [key for key in expected if key not in given]
    extra = [key for key in given if key not in expected]
    both = [key for key in expected if key in given]
    shapes = [key for key in both if given[key].shape != expected[key].shape]
    kinds = [key for key in both if not _same_kind(given[key], expected[key])]
    problems = []
    if missing:
        problems.append(f"{len(missing)} weights missing, first '{missing[0]}'")
    if extra:
        problems.append(f"{len(extra)} unknown, first '{extra[0]}'")
    if shapes:
        first = shapes[0]
        problems.append(
            f"{len(shapes)} of another shape, first '{first}' "
            f"{tuple(given[first].shape)}, expected {tuple(expected[first].shape)}"
        )
    if kinds:
        first = kinds[0]
        problems.append(
            f"{len(kinds)} of another kind, first '{first}' {given[first].dtype}, expected "
            f"{expected[first].dtype}"
        )
    if problems:
        raise UserError(f"{path}: does not fit this config: {'; '.join(problems)}")
    method.load_state_dict(given)


def require_optimizer_states(method: PhasedMethod, checkpoint: dict[str, Any], path: Path) -> None:
    """Check the states of the optimisers in `checkpoint`, whose weights `method` has already.

    They must be what the optimisers of the method's present phase would have saved: as many, with
    the same groups of as many weights and the same settings (but for learning rates), and for each
    weight nothing or tensors of the same names, shapes and kinds. PyTorch checks few of these. Of
    float16 training the state of the scaler of losses, too.

    Raises:
        UserError: names the optimiser and what does not fit.
    """
    states = checkpoint.get("optimizer_states")
    if not isinstance(states, list):
        raise UserError(f"{path}: no state of the optimisers in it to go on with")
    scaler = checkpoint.get("MixedPrecision")
    if scaler is not None and not _is_scaler_state(scaler):
        raise UserError(f"{path}: 'MixedPrecision' is not the state of a scaler of losses")
    if method.finished:
        return
    phase, optimizers = method.phase, method.configure_optimizers()
    if len(states) != len(optimizers):
        raise UserError(
            f"{path}: does not fit phase '{phase.name}': states of {len(states)} optimisers, "
            f"expected {len(optimizers)}"
        )
    for name, optimizer, state in zip(phase.trainable, optimizers, states, strict=True):
        problem = _groups_problem(optimizer, state) or _state_problem(optimizer, state)
        if problem:
            raise UserError(
                f"{path}: does not fit phase '{phase.name}': optimiser '{name}': {problem}"
            )


def _is_scaler_state(state: Any) -> bool:
    return (
        isinstance(state, dict)
        and state.keys() == torch.amp.GradScaler("cpu").state_dict().keys()
        and all(type(x) in (int, float) and 0 <= x < math.inf for x in state.values())
    )


def _same_kind(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other)
    return one.layout == other.layout and one.is_floating_point() == other.is_floating_point()


def _groups_problem(optimizer: Optimizer, state: Any) -> str:
    """What is wrong with the groups of weights of an optimiser's state; "" if nothing is."""
    match state:
        case {"state": dict(), "param_groups": list(groups)} if all(
            isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups
        ):
            pass
        case _:
            return "no state of an optimiser"
    sizes = [len(group["params"]) for group in groups]
    expected = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != expected:
        return f"groups of {sizes} weights, expected {expected}"
    if [index for group in groups for index in group["params"]] != list(range(sum(sizes))):
        return "weights that are not numbered one by one"
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for key in sorted({*group, *own} - {"params"}, key=str):
            if key in SET_BY_SCHEDULES:
                rate = group.get(key, 0.0 if key == "initial_lr" else None)
                fits = type(rate) in (int, float) and math.isfinite(rate) and rate >= 0
            elif key not in group:
                fits = isinstance(own[key], bool | None)  # a switch that older versions had not
            else:
                fits = key in own and _equal(group[key], own[key])
            if not fits:
                return f"{key}={group.get(key)!r:.60}, expected {own.get(key, 'no such setting')!r}"
    return ""


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _state_problem(optimizer: Optimizer, state: dict[str, Any]) -> str:
    """What is wrong with what an optimiser keeps of each weight; "" if nothing is."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected = _state_after_a_step(optimizer)
    for index, kept in state["state"].items():
        if type(index) is not int or not 0 <= index < len(weights) or not isinstance(kept, dict):
            return f"something kept of weight {index!r:.60}, of {len(weights)}"
        if expected is not None and kept.keys() != (own := expected.get(index, {})).keys():
            return f"{sorted(map(str, kept))} kept of weight {index}, expected {sorted(own)}"
        for key, value in kept.items():
            if expected is not None and not _fits(value, like := expected[index][key]):
                return f"{key}={_shown(value)} of weight {index}, expected {_shown(like)}"
    return ""


def _fits(value: Any, like: Any) -> bool:
    """Whether `value` may stand where the twin of `_state_after_a_step` has `like`."""
    if not _same_kind(value, like):
        return False
    if not isinstance(value, Tensor):
        return not isinstance(value, float | int) or (math.isfinite(value) and value >= 0)
    if value.shape != like.shape:
        return False
    # what is no weight's own is not on its device: steps taken, for one
    return like.is_meta or bool(value.isfinite().all() and (value >= 0).all())


def _shown(value: Any) -> str:
    if isinstance(value, Tensor) and value.ndim:
        return f"{tuple(value.shape)} {value.dtype}"
    return f"{value!r:.60}"


def _state_after_a_step(optimizer: Optimizer) -> Mapping[int, dict[str, Any]] | None:
    """What a twin of `optimizer` keeps after a step, without memory for it; None: not known."""
    try:
        twin = copy.copy(optimizer)
        twin.state = defaultdict(dict)
        twin.param_groups = [
            {**group, "params": [_twin(weight) for weight in group["params"]]}
            for group in optimizer.param_groups
        ]
        twin.step()
        return twin.state_dict()["state"]
    except Exception:  # an optimiser of another package may need real weights
        return None


def _twin(weight: Tensor) -> nn.Parameter:
    twin = nn.Parameter(torch.empty_like(weight, device="meta"))
    twin.grad = torch.empty_like(twin)
    return twin
