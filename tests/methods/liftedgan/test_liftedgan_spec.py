"""Which rows of which tables a LiftedGAN run fills."""

from __future__ import annotations

import pytest

from gan3d_bench.config import compose, to_dict
from gan3d_bench.registry import registry
from gan3d_bench.spec import RECONSTRUCT, SAMPLE

WITHOUT_PERTURB = ("losses.perturbation=0", "losses.cycle=0", "losses.prior=0")


def kind(table: str) -> str:
    """What fills a row: FID is of samples."""
    return SAMPLE if table == "fid" else RECONSTRUCT


def rows(table: str, *overrides: str, preset: str = "heads-64") -> dict[str, str]:
    spec = registry("methods").get("liftedgan")
    return dict(spec.rows(table, to_dict(compose(spec, preset, None, list(overrides)))))


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        ((), "LiftedGAN"),
        (("losses.flip=0",), "LiftedGAN without L_flip"),
        (WITHOUT_PERTURB, "LiftedGAN without L_perturb"),
        (("losses.identity=0",), "LiftedGAN without L_idt"),
        (("losses.albedo=0",), "LiftedGAN without L_regA"),
    ],
)
def test_ablations_have_their_rows(overrides: tuple[str, ...], row: str) -> None:
    for table in ("fid", "depth-pose"):
        assert rows(table, *overrides) == {row: kind(table)}
        assert row in registry("tables").get(table).rows
    whole = row == "LiftedGAN"
    assert rows("novel-view", *overrides) == ({row: RECONSTRUCT} if whole else {})


def test_what_is_no_row_of_table_2_fills_none() -> None:
    assert rows("fid", "losses.perturbation=0") == {}  # cycle and prior still there
    assert rows("fid", "losses.flip=0", "losses.albedo=0") == {}


def test_heads_and_faces_have_tables_of_their_own() -> None:
    assert rows("identity-rotation-ffhq") == {}
    assert rows("depth-pose", preset="ffhq-128") == {}
    for table in ("identity-rotation-ffhq", "depth-pose-ffhq"):
        assert rows(table, preset="ffhq-128") == {"LiftedGAN": kind(table)}
