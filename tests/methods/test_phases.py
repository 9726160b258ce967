"""The mechanism of phases: freezing, hooks, resuming in the middle, gradients of processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn

from gan3d_bench.config import RunConfig
from gan3d_bench.distributed import processes
from gan3d_bench.errors import NonFiniteLossError
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.training.callbacks import Checkpointing, evaluation_mode
from gan3d_bench.training.nonfinite import NonFiniteBatchSaver, save_nonfinite_batch

ADAM = partial(torch.optim.Adam, lr=0.1)


class Twofold(PhasedMethod):
    """Two modules, trained in turn and then together; notes what happens."""

    def __init__(self, lengths: Sequence[int] = (3, 2, 4), seed: int = 0) -> None:
        super().__init__(RunConfig(method="twofold", seed=seed))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.left, self.right, self.teacher = (nn.Linear(2, 2) for _ in range(3))
        self.register_buffer("doubled", torch.zeros(()))
        self.lengths = lengths
        self.events: list[str] = []
        self.loss_scale = 1.0

    def phases(self) -> Sequence[Phase]:
        both = {
            "left": Trainable(("left",), ADAM),
            "right": Trainable(("right",), ADAM, schedule=lambda step: 1 / (1 + step)),
        }
        return [
            self._phase("first", self.lengths[0], {"left": both["left"]}),
            self._phase("second", self.lengths[1], {"right": both["right"]}),
            self._phase("third", self.lengths[2], both),
        ]

    def _phase(self, name: str, steps: int, trainable: Mapping[str, Trainable]) -> Phase:
        return Phase(
            name,
            steps,
            trainable,
            self._step,
            begin=partial(self._begin, name),
            end=partial(self._note, f"end {name}"),
            batches=self._numbers,
        )

    def _begin(self, name: str) -> None:
        assert not torch.is_grad_enabled()
        self.doubled += 1
        self._note(f"begin {name}")

    def _note(self, event: str) -> None:
        self.events.append(event)

    def _numbers(self, start: int) -> Iterator[int]:
        self.events.append(f"batches from {start}")
        return iter(range(start, 10**6))

    def _step(self, batch: int) -> Mapping[str, Tensor]:
        assert batch == self.phase_step
        self.events.append(f"{self.phase.name} {batch}")
        x = torch.randn(8, 2, generator=self.rng("x"))
        error = (self.right(self.left(x)) + self.teacher(x)).square().mean()
        return self.descend({"error": error * self.loss_scale})


def train(
    method: PhasedMethod, *callbacks: L.Callback, plugins: Sequence[Any] = (), **options: Any
) -> None:
    trainer = L.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        plugins=list(plugins),
    )
    trainer.fit(method, **options)


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


def state(method: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in method.state_dict().items()}


class Save(L.Callback):
    """Keeps a checkpoint after each step, and the weights."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.states: list[dict[str, Tensor]] = []
        self.trainable: list[set[str]] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        named = module.named_parameters()
        self.trainable.append({name.split(".")[0] for name, p in named if p.requires_grad})

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self.states.append(state(module))
        if self.folder is not None:
            trainer.save_checkpoint(self.folder / f"{len(self.states)}.ckpt")


def test_each_phase_trains_its_modules_only() -> None:
    method, save = Twofold(), Save()
    start = state(method)
    train(method, save)
    assert changed(start, save.states[2]) == {"left", "doubled"}
    assert changed(save.states[2], save.states[4]) == {"right", "doubled"}
    assert changed(save.states[4], save.states[8]) == {"left", "right", "doubled"}
    assert save.trainable == 3 * [{"left"}] + 2 * [{"right"}] + 4 * [{"left", "right"}]
    assert method.finished
    assert method.step == method.total_steps == 9


def test_hooks_run_once_and_steps_in_order() -> None:
    method = Twofold()
    train(method)
    expected = []
    for name, steps in zip(("first", "second", "third"), method.lengths, strict=True):
        expected += [f"begin {name}", "batches from 0"]
        expected += [f"{name} {step}" for step in range(steps)] + [f"end {name}"]
    assert method.events == expected


@pytest.mark.parametrize("lengths", [(1, 1, 1), (0, 2, 0), (5, 0, 1)])
def test_phases_of_any_length(lengths: tuple[int, int, int]) -> None:
    method = Twofold(lengths)
    train(method)
    names = ("first", "second", "third")
    ran = [name for name, steps in zip(names, lengths, strict=True) if steps]
    assert [event[6:] for event in method.events if event.startswith("begin")] == ran
    assert [event[4:] for event in method.events if event.startswith("end")] == ran
    assert method.total_steps == sum(lengths)
    assert method.finished


def test_resumed_at_any_step_it_ends_the_same(tmp_path: Path) -> None:
    whole, save = Twofold(), Save(tmp_path)
    train(whole, save)
    for step in range(1, 9):
        method = Twofold()
        train(method, ckpt_path=tmp_path / f"{step}.ckpt", weights_only=True)
        assert changed(save.states[-1], state(method)) == set(), f"resumed after step {step}"
        begun = [event for event in method.events if event.startswith("begin")]
        left = {1: 2, 2: 2, 3: 2, 4: 1, 5: 1}.get(step, 0)
        assert len(begun) == left, f"resumed after step {step}"


def test_optimisers_are_new_in_each_phase() -> None:
    class Look(L.Callback):
        seen: list[int] = []  # noqa: RUF012

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            self.seen.append(sum(len(optimizer.state) for optimizer in trainer.optimizers))

    train(Twofold(), Look())
    assert [Look.seen[step] for step in (0, 3, 5)] == [0, 0, 0]
    assert all(Look.seen[step] > 0 for step in (1, 2, 4, 6, 7, 8))


def test_schedule_scales_the_learning_rate() -> None:
    rates: list[list[float]] = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            rates.append([g["lr"] for o in trainer.optimizers for g in o.param_groups])

    train(Twofold((0, 0, 3)), Look())
    # after the last step the optimisers are still the phase's own
    assert rates == [pytest.approx([0.1, 0.1 / n]) for n in (1, 2, 3)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_with_its_batch(bad: float) -> None:
    method, save = Twofold(), Save()

    class Spoil(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            method.loss_scale = bad if method.step == 4 else 1.0

    message = r"^loss term 'error' is (nan|inf) in phase 'second' at step 1$"
    with pytest.raises(NonFiniteLossError, match=message) as caught:
        train(method, save, Spoil())
    error = caught.value
    assert (error.phase, error.step, error.rank, error.batch) == ("second", 1, 0, 1)
    assert not math.isfinite(error.terms["error"])
    # as it was before the step, to be looked into
    assert changed(save.states[-1], state(method)) == set()


def test_a_gradient_that_is_not_finite_is_named() -> None:
    method = Twofold()
    method.left.weight.register_hook(lambda grad: grad * float("inf"))
    start = state(method)
    message = "the gradient of weight 'left.weight' is NaN or infinite in phase 'first' at step 0"
    with pytest.raises(NonFiniteLossError, match=message):
        train(method)
    assert changed(start, state(method)) == {"doubled"}


def test_an_infinite_gradient_of_a_scaled_loss_skips_the_step() -> None:
    """With float16 that is how the scale is found: no breakdown."""
    method, save = Twofold((4, 0, 0)), Save()
    method.left.weight.register_hook(lambda grad: grad * float("inf") if method.step == 1 else grad)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    train(method, save, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    moved = [changed(*states) for states in pairwise(save.states)]
    assert moved == [set(), {"left"}, {"left"}]
    assert scaler.get_scale() == 512.0


def test_broken_weights_are_not_saved(tmp_path: Path) -> None:
    """Not even those that no loss has shown yet; the former checkpoint stays."""
    method = Twofold()

    class Spoil(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if method.step == 2:
                method.right.weight.data[0, 0] = float("nan")

    saving = Checkpointing(tmp_path / "last.ckpt", minutes=1e-9)
    with pytest.raises(NonFiniteLossError, match=r"'right.weight' is NaN .* after 2 steps"):
        train(method, Spoil(), saving, NonFiniteBatchSaver(tmp_path))
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["phase"] == {"index": 0, "step": 1}
    assert kept["state_dict"]["right.weight"].isfinite().all()
    found = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert "right.weight" in found["message"]


class Pair(NamedTuple):
    image: Tensor
    label: str


@dataclass
class Views:
    yaw: Tensor
    path: Path


def test_any_batch_is_saved_as_plain_values(tmp_path: Path) -> None:
    whole = torch.arange(10**6)
    batch: dict[Any, Any] = {
        0: [Pair(whole[:2], "a"), (1.5, None)],
        "views": Views(torch.ones(2, requires_grad=True), Path("p")),
        "number": np.float64(2.5),
    }
    error = NonFiniteLossError("why", "phase", 3, {"a": 1.0}, batch)
    save_nonfinite_batch(error, tmp_path / "nonfinite.pt")
    found = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert (found["message"], found["terms"]) == ("why", {"a": 1.0})
    pair, rest = found["batch"][0]
    assert torch.equal(pair["image"], whole[:2]) and pair["label"] == "a" and rest == (1.5, None)
    views = found["batch"]["views"]
    assert torch.equal(views["yaw"], torch.ones(2)) and "p" in views["path"]
    assert "2.5" in found["batch"]["number"]
    assert (tmp_path / "nonfinite.pt").stat().st_size < 10_000  # not all that the tensor views


def test_random_numbers_depend_on_seed_step_and_key_only() -> None:
    def draw(seed: int, step: int, key: str) -> float:
        return float(torch.rand((), generator=Twofold(seed=seed).rng(key, step)))

    base = draw(0, 1, "a")
    torch.manual_seed(123)
    assert draw(0, 1, "a") == base
    others = {draw(1, 1, "a"), draw(0, 2, "a"), draw(0, 1, "b")}
    assert len(others | {base}) == 4


def test_generators_of_a_device_are_asked_for() -> None:
    method = Twofold()
    assert method.rng("a", 3).initial_seed() == method.rng("a", 3, device="cpu").initial_seed()
    with pytest.raises(RuntimeError):
        method.rng("a", 3, device="no such device")


# -- freezing ------------------------------------------------------------------------------------


class Normalised(nn.Sequential):
    """A layer with running statistics."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))


class Renderer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.shader = Normalised(), Normalised()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.shader(self.mapping(x)) * self.scale


class Rendered(PhasedMethod):
    """Trains part of a renderer, then all of it, beside an encoder with a rate of its own."""

    def __init__(self, modules: Sequence[str] = ("renderer.mapping",)) -> None:
        super().__init__(RunConfig(method="rendered"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder, self.renderer = Normalised(), Renderer()
            self.frozen["judge"] = Normalised()  # nobody has frozen it yet
        self.modules_first = tuple(modules)
        self.modes: list[set[str]] = []

    def phases(self) -> Sequence[Phase]:
        first = {"mapping": Trainable(self.modules_first, ADAM)}
        second = {
            "encoder": Trainable(("encoder",), partial(torch.optim.SGD, lr=0.1), lambda s: 0.5**s),
            "renderer": Trainable(("renderer",), ADAM, lambda step: 1 + step),
        }
        return [
            Phase("part", 3, first, self._train_step),
            Phase("both", 4, second, self._train_step),
        ]

    def _train_step(self, _: None) -> Mapping[str, Tensor]:
        named = self.named_modules()
        self.modes.append({name for name, module in named if name and module.training})
        with torch.random.fork_rng():
            torch.manual_seed(self.step)  # of the dropout
            x = torch.randn(8, 2, generator=self.rng("x"))
            error = (self.renderer(self.encoder(x)) + self.frozen["judge"](x)).square().mean()
            if self.phase.name == "part":
                return self.descend({"error": error})
            scalars = self.descend({"renderer": error}, "renderer")
            if self.phase_step % 3 == 0:
                error = self.renderer(self.encoder(x)).abs().mean()
                scalars |= self.descend({"encoder": error}, "encoder")
            return scalars


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """The networks whose weights or statistics have changed."""
    keys = [key for key in before if not torch.equal(before[key], after[key])]
    return {key.rsplit(".", 2)[0] if key.count(".") > 1 else key for key in keys}


def test_statistics_of_what_is_frozen_stay() -> None:
    method, save = Rendered(), Save()
    start, judge = state(method), state(method.frozen["judge"])
    train(method, save)
    assert moved(start, save.states[2]) == {"renderer.mapping"}
    statistics = "renderer.mapping.1.running_mean"
    assert not torch.equal(start[statistics], save.states[2][statistics])
    others = {"encoder", "renderer.mapping", "renderer.shader", "renderer.scale"}
    assert moved(save.states[2], save.states[-1]) == others
    part = {"renderer.mapping", *(f"renderer.mapping.{layer}" for layer in range(3))}
    assert method.modes[:3] == 3 * [part]
    assert {"encoder.1", "renderer", "renderer.shader.2"} < method.modes[3]
    assert all(torch.equal(judge[key], x) for key, x in method.frozen["judge"].state_dict().items())
    assert not any(p.requires_grad for p in method.frozen["judge"].parameters())


def test_modes_are_back_after_resuming_and_after_previews(tmp_path: Path) -> None:
    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
            with evaluation_mode(module):
                assert not any(part.training for part in module.modules())

    whole, save = Rendered(), Save(tmp_path)
    train(whole, save)
    for step in range(1, 7):
        method = Rendered()
        train(method, Look(), ckpt_path=tmp_path / f"{step}.ckpt", weights_only=True)
        assert method.modes == whole.modes[step:]
        assert moved(save.states[-1], state(method)) == set(), f"resumed after step {step}"


def test_optimisers_of_one_phase_have_their_own_rates_and_steps() -> None:
    method, save, rates = Rendered(), Save(), []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            rates.append([group["lr"] for o in trainer.optimizers for group in o.param_groups])

    train(method, save, Look())
    assert rates[3:] == [pytest.approx([0.1 * 0.5**n, 0.1 * (1 + n)]) for n in range(4)]
    weights = [states["encoder.0.weight"] for states in save.states[2:]]
    assert [not torch.equal(*pair) for pair in pairwise(weights)] == [True, False, False, True]
    weights = [states["renderer.scale"] for states in save.states[2:]]
    assert all(not torch.equal(*pair) for pair in pairwise(weights))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (("renderer.maping",), r"Rendered has no module 'renderer.maping' .*'renderer.mapping'"),
        (("frozen",), "has no module 'frozen'"),
        (("renderer.scale",), "has no module 'renderer.scale'"),
        (
            ("renderer", "renderer.mapping"),
            r"'renderer.mapping.0.weight' is already in 'renderer.mapping.0.weight' of optimiser",
        ),
    ],
)
def test_modules_that_cannot_be_trained(modules: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^phase 'part', optimiser 'mapping': .*{message}"):
        train(Rendered(modules))


def test_a_weight_in_two_optimisers_is_refused() -> None:
    method = Rendered()
    method.renderer.shader[0].weight = method.encoder[0].weight
    message = r"phase 'both', optimiser 'renderer': 'renderer.shader.0.weight' is already in"
    with pytest.raises(ValueError, match=message):
        train(method)


def test_an_optimiser_that_the_phase_lacks_is_refused() -> None:
    class Wrong(Twofold):
        def descend(self, terms: Any, name: Any = None) -> dict[str, Tensor]:
            return super().descend(terms, "lefd" if self.phase_step else "left")

    with pytest.raises(ValueError, match=r"'first' has no optimiser 'lefd' \(did you mean 'left'"):
        train(Wrong())


# -- processes ----------------------------------------------------------------------------------


def test_shares_of_nested_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {"x": torch.arange(10), "maps": [torch.arange(20).view(5, 4), None], "i": (range(3),)}
    whole = Twofold().share(batch)
    assert torch.equal(whole["x"], batch["x"]) and whole["i"] == (range(3),)
    monkeypatch.setattr(processes, "rank_and_size", lambda: (1, 3))
    mine = Twofold().share(batch)
    assert mine["x"].tolist() == [1, 4, 7]
    assert torch.equal(mine["maps"][0], batch["maps"][0][[1, 4]]) and mine["maps"][1] is None
    assert list(mine["i"][0]) == [1]


def test_two_processes_descend_as_one(tests_on_path: None, tmp_path: Path, free_port: int) -> None:
    import children
    import sharded

    alone = sharded.train(devices=1)
    processes = [
        children.start_function(sharded.train_as_rank, rank, free_port, tmp_path)
        for rank in range(2)
    ]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
