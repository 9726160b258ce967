"""What a checkpoint holds is checked before any of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.files.checkpoints import AtomicCheckpointIO, read_checkpoint
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build
from gan3d_bench.training.restoring import require_optimizer_states, restore

DEPTH = {"index": 1, "step": 3}
FILE = Path("last.ckpt")


@pytest.fixture
def method(toy: Path) -> PhasedMethod:
    """In the second phase, of two optimisers."""
    spec = registry("methods").get("toy")
    method = build(spec, compose(spec, "check"))
    assert isinstance(method, PhasedMethod)
    method.on_load_checkpoint({"phase": DEPTH})
    return method


def saved(method: PhasedMethod) -> dict[str, Any]:
    """What the method would save after a step; of the last weight, which got no gradient, less."""
    optimizers = method.configure_optimizers()
    for optimizer in optimizers:
        weights = optimizer.param_groups[0]["params"]
        for weight in weights[:-1]:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        optimizer.param_groups[0] |= {"lr": 1e-5, "initial_lr": 1e-3}
    states = [optimizer.state_dict() for optimizer in optimizers]
    return {"state_dict": method.state_dict(), "phase": DEPTH, "optimizer_states": states}


def test_what_was_saved_fits(method: PhasedMethod) -> None:
    checkpoint = saved(method)
    assert len(checkpoint["optimizer_states"][0]["state"]) == 3
    restore(method, checkpoint, FILE)
    require_optimizer_states(method, checkpoint, FILE)
    # versions of PyTorch add switches
    for state in checkpoint["optimizer_states"]:
        del state["param_groups"][0]["fused"]
    require_optimizer_states(method, checkpoint, FILE)


def group(key: str, value: Any) -> Callable[[list[Any]], None]:
    return lambda states: states[0]["param_groups"][0].__setitem__(key, value)


def kept(key: str, value: Any) -> Callable[[list[Any]], None]:
    return lambda states: states[0]["state"][0].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states: states.pop(), "states of 1 optimisers, expected 2"),
        (lambda states: states.reverse(), r"optimiser 'depth': groups of \[2\] weights, expected"),
        (lambda states: states[0].clear(), "no state of an optimiser"),
        (lambda states: states[0]["param_groups"].append({"params": []}), r"groups of \[4, 0\]"),
        (group("params", [0, 1, 2, 2]), "not numbered one by one"),
        (group("betas", (1.0, 1.0)), r"betas=\(1.0, 1.0\), expected \(0.9, 0.999\)"),
        (group("fused", True), "fused=True, expected None"),
        (group("momentum", 0.9), "momentum=0.9, expected 'no such setting'"),
        (group("lr", math.nan), "lr=nan"),
        (group("initial_lr", torch.ones(1)), "initial_lr="),
        (lambda states: states[0]["param_groups"][0].pop("eps"), "eps=None, expected 1e-08"),
        (kept("exp_avg", torch.zeros(3, 8)), r"exp_avg=\(3, 8\) torch.float32 of weight 0"),
        (kept("exp_avg", torch.zeros(8, 3, dtype=torch.int64)), r"exp_avg=\(8, 3\) torch.int64"),
        (kept("exp_avg", torch.zeros(8, 3).to_sparse()), "exp_avg="),
        (kept("exp_avg", None), "exp_avg=None of weight 0"),
        (kept("step", torch.tensor(-1.0)), r"step=tensor\(-1.\) of weight 0"),
        (kept("step", torch.tensor(math.inf)), "step="),
        (kept("square_avg", torch.zeros(8, 3)), "'square_avg', 'step'] kept of weight 0"),
        (lambda states: states[0]["state"][0].pop("exp_avg_sq"), "kept of weight 0, expected"),
        (lambda states: states[0]["state"].update({9: {}}), "something kept of weight 9, of 4"),
    ],
)
def test_states_that_would_break_the_optimiser(
    method: PhasedMethod, change: Callable[[list[Any]], None], message: str
) -> None:
    checkpoint = saved(method)
    change(checkpoint["optimizer_states"])
    with pytest.raises(UserError, match=rf"^last\.ckpt: does not fit phase 'depth': .*{message}"):
        require_optimizer_states(method, checkpoint, FILE)


def test_the_scaler_of_float16(method: PhasedMethod) -> None:
    checkpoint = saved(method)
    state = torch.amp.GradScaler("cpu").state_dict()
    require_optimizer_states(method, checkpoint | {"MixedPrecision": state}, FILE)
    for wrong in (3, {}, {**state, "scale": math.inf}, {**state, "scale": "x"}):
        with pytest.raises(UserError, match="'MixedPrecision' is not the state of a scaler"):
            require_optimizer_states(method, checkpoint | {"MixedPrecision": wrong}, FILE)


def test_an_optimiser_that_needs_real_weights(method: PhasedMethod) -> None:
    """Of one that cannot say what it keeps, the groups are checked."""
    checkpoint = saved(method)

    class Needy(torch.optim.Adam):
        def step(self, closure: Any = None) -> None:
            raise RuntimeError("no")

    for item in (method.phase.trainable["depth"],):
        object.__setattr__(item, "optimizer", lambda weights: Needy(weights, lr=1e-3))
    require_optimizer_states(method, checkpoint, FILE)
    checkpoint["optimizer_states"][0]["param_groups"][0]["betas"] = (2.0, 2.0)
    with pytest.raises(UserError, match="betas="):
        require_optimizer_states(method, checkpoint, FILE)


def test_weights_of_another_kind(method: PhasedMethod) -> None:
    checkpoint = saved(method)
    checkpoint["state_dict"] = {key: value.long() for key, value in method.state_dict().items()}
    message = "7 of another kind, first 'ended' torch.int64, expected torch.float32"
    with pytest.raises(UserError, match=message):
        restore(method, checkpoint, FILE)


def test_a_checkpoint_of_another_phase_does_not_resume(cli: Callable[..., Any], toy: Path) -> None:
    quick = ("trainer.accelerator=cpu", "trainer.preview_every=-1")
    assert cli("fit", "--method", "toy", "--preset", "check", *quick).code == 0
    (run,) = Run.find("toy")
    (run.path / "finished.json").unlink()
    before = read_checkpoint(run.checkpoint)
    for changes, message in (
        ({"phase": {"index": 0, "step": 2}}, "does not fit phase 'colour': states of 2 optimisers"),
        ({"optimizer_states": None}, "no state of the optimisers in it to go on with"),
    ):
        AtomicCheckpointIO().save_checkpoint({**before, **changes}, run.checkpoint)
        outcome = cli("fit", "--method", "toy", "--resume")
        assert outcome.code == 2
        assert message in outcome.err and len(outcome.err.splitlines()) == 1
    # what Lightning wrote for itself is not looked at
    foreign = {"pytorch-lightning_version": "x", "callbacks": 3, "loops": {}, "lr_schedulers": 1}
    AtomicCheckpointIO().save_checkpoint({**before, **foreign, "epoch": "x"}, run.checkpoint)
    assert cli("fit", "--method", "toy", "--resume").code == 0
