"""Every table: its declaration, and the papers' numbers it prints."""

from __future__ import annotations

import math

import pytest

from gan3d_bench.benchmarks.formats import FORMATS, render
from gan3d_bench.benchmarks.stored import assemble
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.spec import load

TABLES = tuple(BUILTIN["tables"])

SHAPE = {
    "True depth": (None, None),
    "Supervised": (0.419, 10.83),
    "Constant depth": (2.723, 43.22),
    "Average ground-truth depth": (1.978, 22.99),
    "Average ground-truth depth, subject only": (None, None),
    "Ellipsoid, true view": (None, None),
    "Mean head, true view": (None, None),
    "Unsup3D, symmetric": (0.807, 16.34),
    "GAN2Shape, symmetric, no regularisation": (0.925, 16.42),
    "GAN2Shape, symmetric": (0.756, 14.81),
    "Unsup3D, not symmetric": (1.334, 33.79),
    "GAN2Shape, not symmetric": (1.023, 17.09),
    "GAN2Shape, asymmetric prior": (0.769, 14.95),
    "GAN2Shape, prior shifted by w/6": (0.767, 14.93),
    "GAN2Shape, prior shifted by w/4": (0.775, 15.07),
    "GAN2Shape, weak prior": (0.764, 14.97),
    "GAN2Shape, flat prior": (1.021, 20.46),
}
OF_HEADS = ("Supervised", "Ellipsoid, true view", "Mean head, true view")
"""Rows of `shape` that need true views, or whose method has none on Synface."""

PAPERS = {
    "dataset-size": {
        "GAN2Shape, 160k images": (0.756, 14.81),
        "GAN2Shape, 40k images": (0.765, 14.90),
        "GAN2Shape, 10k images": (0.784, 15.10),
        "GAN2Shape, 3k images": (0.794, 15.28),
        "GAN2Shape, 1k images": (0.945, 16.84),
    },
    "fid": {
        "Held-out heads": (None, None),
        "Bundled StyleGAN2 teacher": (None, None),
        "StyleGAN2 teacher": (12.72, None),
        "HoloGAN": (100.28, None),
        "DiscoFaceGAN": (12.90, None),
        "CONFIGNet": (43.05, None),
        "LiftedGAN without L_flip": (28.69, None),
        "LiftedGAN without L_perturb": (21.30, None),
        "LiftedGAN without L_idt": (30.63, None),
        "LiftedGAN without L_regA": (27.34, None),
        "LiftedGAN": (29.81, None),
        "UV 3DMM": (None, None),
    },
    "depth-pose": {
        "Constant depth and pose": (None, None, None, None),
        "Ellipsoid, true view": (None, None, None, None),
        "Mean head, true view": (None, None, None, None),
        "Unsup3D": (0.472, 2.78, 4.55, 0.75),
        "LiftedGAN without L_flip": (0.623, 9.37, 5.34, 0.91),
        "LiftedGAN without L_perturb": (0.548, 2.68, 5.03, 1.02),
        "LiftedGAN without L_idt": (0.498, 1.82, 4.66, 1.15),
        "LiftedGAN without L_regA": (0.467, 1.89, 4.81, 1.06),
        "LiftedGAN": (0.435, 1.86, 4.77, 1.07),
        "GAN2Shape (3D)": (None, None, None, None),
    },
    "inversion": {
        "Mean head, true view": (None, None, None),
        "Linear regression on EG3D": (None, None, None),
        "ReStyle on EG3D": (0.254, 0.353, 0.54),
        "W_tri without L_cyc": (0.227, 0.352, None),
        "W_tri": (0.223, 0.362, 0.54),
        "Projection on EG3D": (None, None, None),
        "PTI on EG3D": (0.10, 0.57, 457.0),
    },
    "shape": SHAPE,
    "shape-synface": {row: numbers for row, numbers in SHAPE.items() if row not in OF_HEADS},
    "iou": {
        "True car": (None, None),
        "Mean car, true view": (None, None),
        "Trained on Pascal3D": (0.80, 0.81),
        "Trained on StyleGAN's images": (0.76, 0.95),
        "StyleGAN-R": (None, None),
    },
    "annotation": {
        "Pascal3D, keypoints": (4000, 200, 350),
        "StyleGAN's images, keypoints": (None, 3, 4),
        "StyleGAN's images, 12 view bins": (50000, 1 / 60, 1 / 60),
    },
    "user-study": {
        "Trained on StyleGAN's images": (57.5, 61.6, 56.3),
        "Trained on Pascal3D": (25.9, 26.4, 32.8),
        "No preference": (16.6, 11.9, 10.8),
        "Three annotators agree": (26.1, 29.6, 27.1),
        "Two of three agree": (61.1, 58.6, 62.1),
        "No two agree": (12.8, 11.8, 10.8),
    },
    "camera-init": {
        "Keypoints": (0.953, 60, None, None),
        "12 view bins": (0.952, 60, None, None),
        "Bins against keypoints, mean": (None, None, 1.43, 0.42),
        "Bins against keypoints, max": (None, None, 2.95, 1.11),
        "12 view bins against the truth": (None, None, None, None),
    },
}


def reported(table: str) -> list:
    numbers = list(registry("tables").get(table).reported)
    for method in registry("methods").specs.values():
        numbers += [number for number in method.reported if number.table == table]
    return numbers


@pytest.mark.parametrize("table", TABLES)
def test_numbers_are_finite_sourced_and_have_one_place_each(table: str) -> None:
    spec = registry("tables").get(table)
    metrics = [column.metric for column in spec.columns]
    assert len(metrics) == len(set(metrics))
    assert len(spec.rows) == len(set(spec.rows))
    numbers = reported(table)
    places = [(number.row, number.metric) for number in numbers]
    assert len(places) == len(set(places))
    for number in numbers:
        assert number.table == table
        assert number.row in spec.rows
        assert number.metric in metrics
        assert math.isfinite(number.value)
        assert "Table" in number.source


def test_no_number_is_of_an_unknown_table() -> None:
    for method in registry("methods").specs.values():
        assert {number.table for number in method.reported} <= set(TABLES)


def test_table_2_of_liftedgan_is_of_what_it_was_measured_on() -> None:
    """FID against photographs; depth and pose of StyleGAN2's samples (section 5.3)."""
    sources = {table: {n.source for n in reported(table)} for table in ("depth-pose", "fid")}
    assert sources["depth-pose"] == {"LiftedGAN (Shi et al., 2021), Table 2, StyleGAN2 samples"}
    assert "LiftedGAN (Shi et al., 2021), Table 2, FFHQ" in sources["fid"]


@pytest.mark.parametrize("table", ["shape", "shape-synface"])
def test_shapes_of_the_papers_are_of_500_basel_faces(table: str) -> None:
    sources = assemble(registry("tables").get(table), []).sources
    assert all("Table " in source and "BFM" in source for source in sources)
    assert set(sources.values()) == {500}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_measured_or_says_why_not(table: str) -> None:
    spec = registry("tables").get(table)
    if spec.measure:
        assert set(load(spec.measure).baselines) <= set(spec.rows)
    else:
        assert "Not measured" in spec.protocol


@pytest.mark.parametrize("table", TABLES)
def test_the_papers_rows_print_without_any_run(table: str) -> None:
    printed = assemble(registry("tables").get(table), [])
    for form in FORMATS:
        assert render(printed, form)
    assert all(line.note for line in printed.lines)


@pytest.mark.parametrize("table", PAPERS)
def test_rows_carry_the_papers_numbers(table: str) -> None:
    found = {}
    for line in assemble(registry("tables").get(table), []).lines:
        numbers = [c.reported.value if c.reported else None for c in line.cells.values()]
        compared = len(PAPERS[table].get(line.row, ()))
        assert not any(numbers[compared:])  # of columns that no paper has
        found[line.row] = tuple(numbers[:compared])
    assert found == PAPERS[table]
    assert list(found) == list(PAPERS[table])
