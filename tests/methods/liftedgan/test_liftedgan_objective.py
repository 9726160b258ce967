"""LiftedGAN's objective: who learns from which term, and shares of a batch."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.config import compose
from gan3d_bench.methods.liftedgan.losses import Share, identity_distance, nuclear_norm
from gan3d_bench.methods.liftedgan.method import LiftedGAN
from gan3d_bench.methods.liftedgan.objective import Batch, BatchTotals, Objective
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build

D_S, D_T, D_VL, M = "depth", "transformation", "decomposition", "manipulation"
ALL = {D_S, D_T, D_VL, M}
# term -> who learns from it: the backward passes of the released models/lifted_gan.py
PATHS = {
    "reconstruction": ALL,
    "flip": ALL,
    "perturb_b": ALL,
    "perturb_a": {M},
    "cycle": {D_VL, M},
    "prior": {M},
    "identity": ALL,
    "albedo": {D_S, D_VL, M},
    "smooth": {D_S, D_VL, M},
    "keep": {M},
    "light": {D_VL},
}
BATCH = 4


class Embedding(nn.Module):
    """Stands for a face recognition network."""

    name = "toy"

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(images, 4).flatten(1))


def build_method(*overrides: str) -> LiftedGAN:
    spec = registry("methods").get("liftedgan")
    ours = ("losses.smooth=1", "losses.keep=1", "losses.light=1")
    fixed = (f"batch={BATCH}", "statistics=16", "kept=6", *ours)
    method = build(spec, compose(spec, "check", None, [*fixed, *overrides]))
    assert isinstance(method, LiftedGAN)
    method._measure_styles()
    return method


@pytest.fixture(scope="module")
def method() -> LiftedGAN:
    """With an identity term, and subjects that are not flat and do turn."""
    made = build_method()
    made.config.losses.identity = 1.0
    made.frozen["identity"] = Embedding()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.lifter.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def batch(method: LiftedGAN) -> Batch:
    return method._training_batch(next(method._batches(3)))


def gradients(method: LiftedGAN, loss: Tensor) -> dict[str, float]:
    """Norm of the gradient by network; None counts as 0."""
    names, parameters = zip(*method.lifter.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    norms: dict[str, float] = dict.fromkeys(ALL, 0.0)
    for name, gradient in zip(names, found, strict=True):
        if gradient is not None:
            norms[name.partition(".")[0]] += gradient.norm().item()
    return norms


@pytest.fixture(scope="module")
def terms(method: LiftedGAN, batch: Batch) -> dict[str, Tensor]:
    return method._objective().terms(batch, Share.whole(BATCH))


@pytest.mark.parametrize("term", PATHS)
def test_who_learns_from_a_term(method: LiftedGAN, terms: dict[str, Tensor], term: str) -> None:
    norms = gradients(method, terms[term])
    assert {name for name, norm in norms.items() if norm > 0} == PATHS[term]


def test_the_table_above_is_complete(terms: dict[str, Tensor]) -> None:
    assert set(terms) == set(PATHS)


def test_the_teacher_and_the_targets_get_no_gradient(method: LiftedGAN, batch: Batch) -> None:
    terms = method._objective().terms(batch, Share.whole(BATCH))
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None for p in method.generator.parameters())
    assert batch.light.grad_fn is None and batch.view.grad_fn is None
    method.lifter.zero_grad()


def test_reconstruction_does_not_reach_the_view_that_m_is_given(
    method: LiftedGAN, terms: dict[str, Tensor]
) -> None:
    """w0 = M(w, L0, 0): a zero input gives its embedding's first weights no gradient."""
    first = method.lifter.manipulation.get_parameter(
        next(n for n, p in method.lifter.manipulation.named_parameters() if p.shape[-1] == 6)
    )
    (rec,) = torch.autograd.grad(terms["reconstruction"], first, retain_graph=True)
    (moved,) = torch.autograd.grad(terms["perturb_a"], first, retain_graph=True)
    assert not rec.any()
    assert moved.any()


def without(method: LiftedGAN, **weights: float) -> Objective:
    objective = method._objective()
    objective.weights = replace(objective.weights, **weights)
    return objective


@pytest.mark.parametrize(
    ("weights", "gone"),
    [
        ({"flip": 0.0}, {"flip"}),
        ({"identity": 0.0}, {"identity"}),
        ({"albedo": 0.0}, {"albedo"}),
        (
            {"perturbation": 0.0, "cycle": 0.0, "prior": 0.0},
            {"perturb_a", "perturb_b", "cycle", "prior"},
        ),
    ],
)
def test_ablations_of_table_2_leave_terms_out(method, batch, weights, gone) -> None:
    left = without(method, **weights).terms(batch, Share.whole(BATCH))
    assert set(PATHS) - set(left) == gone


def test_shares_add_up_to_the_whole_batch(method: LiftedGAN, batch: Batch) -> None:
    """Values and gradients, also of shares of different sizes: what DDP and micro-batches need."""
    objective = method._objective()
    whole = objective.terms(batch, Share.whole(BATCH))
    shares = [Share(slice(0, 1), BATCH), Share(slice(1, BATCH), BATCH)]
    totals = [objective.totals(batch, share) for share in shares]
    known = BatchTotals(torch.cat([s.rows for s in totals]), totals[0].mask + totals[1].mask)
    parts = [objective.terms(batch, share, known) for share in shares]
    parameters = list(method.lifter.parameters())
    for name, value in whole.items():
        joined = sum(s.fraction * part[name] for s, part in zip(shares, parts, strict=True))
        assert isinstance(joined, Tensor)
        torch.testing.assert_close(joined, value, rtol=1e-5, atol=1e-6)
        both = [
            torch.autograd.grad(x, parameters, retain_graph=True, allow_unused=True)
            for x in (value, joined)
        ]
        for one, other in zip(*both, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_nuclear_norm_is_the_sum_of_singular_values_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    rows = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    norm = nuclear_norm(rows, rows, Share.whole(5))
    reference = torch.linalg.matrix_norm(rows, ord="nuc")
    torch.testing.assert_close(norm, reference)
    ours, theirs = (torch.autograd.grad(x, rows)[0] for x in (norm, reference))
    torch.testing.assert_close(ours, theirs)


def test_nuclear_norm_of_equal_and_empty_rows_is_finite() -> None:
    for rows in (torch.ones(4, 9), torch.zeros(4, 9)):
        rows.requires_grad_(True)
        norm = nuclear_norm(rows, rows, Share.whole(4))
        norm.backward()
        torch.testing.assert_close(norm.detach(), torch.linalg.svdvals(rows.detach()).sum())
        assert rows.grad is not None and rows.grad.isfinite().all()


def test_keeping_is_in_units_of_the_variance_of_stylecodes(
    method: LiftedGAN, batch: Batch, monkeypatch
) -> None:
    """An M that always gives the mean is as far off as stylecodes are from it."""
    w = batch.kept
    assert w.shape == (6, method.generator.w_dim)
    monkeypatch.setattr(method.lifter, "manipulate", lambda w, light, view: w.mean(0).expand_as(w))
    found = method._objective()._kept(w, Share.whole(BATCH))
    wanted = (w - w.mean(0)).square().mean() * 2 * method.w_precision
    torch.testing.assert_close(found, wanted)
    monkeypatch.setattr(method.lifter, "manipulate", lambda w, light, view: w)
    assert method._objective()._kept(w, Share.whole(BATCH)) == 0


def test_identity_counts_only_what_is_turned_a_little() -> None:
    x, y = torch.eye(3), torch.eye(3)[[1, 2, 0]]
    chosen = torch.tensor([True, False, False])
    share = Share.whole(3)
    assert identity_distance(x, y, chosen, share) == 2.0
    assert identity_distance(x, y, torch.zeros(3, dtype=torch.bool), share) == 0.0


def test_a_step_changes_every_network(method: LiftedGAN, batch: Batch) -> None:
    made = build_method()
    before = copy.deepcopy(made.lifter.state_dict())
    optimizer = torch.optim.Adam(made.lifter.parameters(), lr=1e-3)
    first = made._training_batch(next(made._batches(0)))
    terms = made._objective().terms(first, Share.whole(BATCH))
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    for name in ALL:
        assert any(
            not torch.equal(value, before[key])
            for key, value in made.lifter.state_dict().items()
            if key.startswith(name)
        ), name
