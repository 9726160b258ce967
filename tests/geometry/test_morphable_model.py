"""The bundled head model, and reading the Basel Face Model's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError
from gan3d_bench.geometry import basel, morphable_model
from gan3d_bench.geometry.basel import load_basel
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rasterizer import rasterize


@pytest.fixture(scope="module")
def heads() -> MorphableModel:
    return MorphableModel.load_heads()


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sizes(heads) -> None:
    assert (heads.num_identity, heads.num_expression, heads.num_albedo) == (80, 64, 48)
    assert heads.vertices(normals(2, 80), normals(2, 64)).shape == (2, *heads.mean.shape)
    assert heads.albedo(normals(2, 48)).shape == (2, 3, 192, 192)
    assert heads.faces.max() == len(heads.mean) - 1
    assert asset_path("heads").stat().st_size <= 8_000_000


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_heads_are_symmetric(seed) -> None:
    heads = MorphableModel.load_heads()
    vertices = heads.vertices(normals(1, 80, seed=seed))
    # The half-float bases cost 3e-5 of a head's 0.15 scene units.
    torch.testing.assert_close(heads.mirrored(vertices), vertices, rtol=0, atol=2e-4)
    index = torch.arange(len(heads.mean))
    assert torch.equal(heads.mirror[heads.mirror], index)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(-2, 2))
def test_shape_is_linear_and_short_coefficients_are_padded(seed, scale) -> None:
    heads = MorphableModel.load_heads()
    short = normals(1, 12, seed=seed)
    full = torch.cat((scale * short, torch.zeros(1, 68)), 1)
    moved = heads.mean + scale * (heads.vertices(short)[0] - heads.mean)
    torch.testing.assert_close(heads.vertices(full)[0], moved, rtol=0, atol=1e-5)


def test_landmarks_lie_where_a_face_has_them(heads) -> None:
    points = heads.landmark_points(heads.vertices(torch.zeros(1, 80)))[0]
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert left_eye[0] < -0.01 < 0.01 < right_eye[0]
    assert left_mouth[0] < -0.01 < 0.01 < right_mouth[0]
    assert abs(nose[0]) < 1e-4
    assert left_eye[1] < nose[1] < left_mouth[1]  # y points down
    assert nose[2] < points[[0, 1, 3, 4], 2].min()  # the nose is nearest
    assert heads.face_region[heads.landmarks].all()


def test_no_hole_is_seen_from_the_front(heads) -> None:
    """What back faces would show through a hole is covered by front faces."""
    identity = normals(4, 80, seed=3)
    smile = heads.prior.expression(normals(4, 16, seed=4))
    vertices = heads.vertices(identity, smile) + torch.tensor([0.0, 0.0, 1.0])
    ndc = PinholeCamera(96).to_ndc(vertices)
    closed, culled = (
        rasterize(ndc, heads.faces, 96, cull_backfaces=cull, with_dists=False).covered
        for cull in (False, True)
    )
    assert closed.float().mean() > 0.3
    assert (closed & ~culled).sum() <= 4


def test_expression_prior_is_bounded_and_smiles(heads) -> None:
    prior = heads.prior
    far = prior.expression(50 * normals(64, prior.expression_latents))
    bound = (prior.expression_rows[:, 2:] * prior.expression_levels.abs()).sum(0)
    assert (far.abs() <= bound + 1e-4).all()
    latent = torch.zeros(2, prior.expression_latents)
    latent[1, 1] = 3.0  # the smile
    neutral, smile = heads.landmark_points(
        heads.vertices(torch.zeros(2, 80), prior.expression(latent))
    )
    assert (smile[3:, 1] < neutral[3:, 1] - 1e-3).all()  # corners go up
    assert smile[4, 0] - smile[3, 0] > neutral[4, 0] - neutral[3, 0]  # and apart


def test_prior_gives_plausible_and_different_albedo(heads) -> None:
    textures = heads.albedo(heads.prior.albedo(normals(32, heads.prior.albedo_latents)))
    inside = (textures > -1.02) & (textures < 1.02)
    assert inside.float().mean() > 0.97
    brightness = textures.mean((1, 2, 3))
    assert brightness.std() > 0.05


def test_model_moves_to_a_device_whole(heads) -> None:
    moved = heads.to("meta")
    assert all(tensor.device.type == "meta" for tensor in moved.tensors())
    assert len(moved.tensors()) == len(heads.tensors())


def test_damaged_heads_file(tmp_path: Path) -> None:
    path = tmp_path / "heads.npz"
    path.write_bytes(asset_path("heads").read_bytes()[:10_000])
    with pytest.raises(UserError, match=r"heads\.npz: not a head model .*identity_basis"):
        morphable_model._load_heads(path)
    np.savez(path, mean=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"heads\.npz: not a head model .*meta"):
        morphable_model._load_heads(path)


def test_mirroring_needs_a_table(heads, basel_files) -> None:
    model = load_basel(basel_files)
    with pytest.raises(ValueError, match="'basel' has no table of mirrored vertices"):
        model.mirrored(model.mean[None])


@pytest.fixture
def basel_files(tmp_path: Path, monkeypatch) -> Path:
    """Raw files of the official layout with 12 shape and 9 expression vertices."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(basel, "EXPRESSION_VERTICES", 9)
    shape = {
        "shapeMU": rng.standard_normal((36, 1)) * 1e5,
        "shapePC": rng.standard_normal((36, 199)),
        "shapeEV": rng.random((199, 1)) * 1e5,
        "texMU": rng.random((36, 1)) * 255,
        "texPC": rng.standard_normal((36, 199)),
        "texEV": rng.random((199, 1)),
    }
    savemat(tmp_path / "01_MorphableModel.mat", shape)
    savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": np.arange(3, 12)[:, None]})
    savemat(tmp_path / "BFM_front_idx.mat", {"idx": np.array([[2], [4], [5], [8]])})
    info = {
        "tri": np.array([[1, 2, 3], [2, 3, 4]]),
        "keypoints": np.arange(68)[None] % 4 + 1,
        "skinmask": np.array([[1, 0, 1, 1]]),
    }
    savemat(tmp_path / "facemodel_info.mat", info)
    with (tmp_path / "Exp_Pca.bin").open("wb") as file:
        np.array([79], np.int32).tofile(file)
        rng.standard_normal(80 * 27).astype(np.float32).tofile(file)
    np.savetxt(tmp_path / "std_exp.txt", rng.random(79))
    return tmp_path


def test_raw_basel_files_are_converted(basel_files: Path) -> None:
    from scipy.io import loadmat

    model = load_basel(basel_files)
    assert (model.num_identity, model.num_expression, model.num_albedo) == (80, 64, 80)
    raw = loadmat(basel_files / "01_MorphableModel.mat")
    # Front vertex 1 is expression vertex 4 (1-based), which is shape vertex 6.
    rows = slice(3 * 5, 3 * 6)
    expected = raw["shapePC"][rows, 7] * raw["shapeEV"][7, 0] / 1e5
    np.testing.assert_allclose(model.identity_basis[7, 1].numpy(), expected, rtol=1e-5)
    texture = (raw["texMU"][rows, 0] + 2 * raw["texPC"][rows, 3] * raw["texEV"][3, 0]) / 127.5 - 1
    coefficients = torch.zeros(1, 80)
    coefficients[0, 3] = 2
    np.testing.assert_allclose(model.albedo(coefficients)[0, 1].numpy(), texture, rtol=1e-4)
    with (basel_files / "Exp_Pca.bin").open("rb") as file:
        np.fromfile(file, np.int32, 1)
        values = np.fromfile(file, np.float32).reshape(80, 9, 3)
    deviation = np.loadtxt(basel_files / "std_exp.txt")[5]
    expected = values[1 + 5, 3] * deviation / 1e5  # the first block is the unused mean
    np.testing.assert_allclose(model.expression_basis[5, 1].numpy(), expected, rtol=1e-5)
    assert model.landmarks.tolist() == [i % 4 for i in range(68)]
    assert model.face_region.tolist() == [True, False, True, True]
    torch.testing.assert_close(model.mean.mean(0), torch.zeros(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["BFM_front_idx.mat", "Exp_Pca.bin", "std_exp.txt"])
def test_missing_raw_file_is_named(basel_files: Path, name: str) -> None:
    (basel_files / name).unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        load_basel(basel_files)


def test_damaged_raw_files(basel_files: Path) -> None:
    path = basel_files / "Exp_Pca.bin"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UserError, match=r"Exp_Pca\.bin: damaged; expected int32 n"):
        load_basel(basel_files)


def test_indices_that_do_not_fit(basel_files: Path) -> None:
    savemat(basel_files / "BFM_front_idx.mat", {"idx": np.array([[2], [4], [5], [80]])})
    with pytest.raises(UserError, match="do not fit together"):
        load_basel(basel_files)


def test_missing_folder_file_and_keys(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"BFM_model_front\.mat .*keys meanshape"):
        load_basel(tmp_path)
    with pytest.raises(UserError, match=r"nothing\.mat: no such file"):
        load_basel(tmp_path / "nothing.mat")
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, {"meanshape": np.zeros((1, 9))})
    with pytest.raises(UserError, match=r"BFM_model_front\.mat: lacks meantex, idBase"):
        load_basel(tmp_path)
    path.write_bytes(b"no MATLAB file at all, but long enough to be looked at" * 10)
    with pytest.raises(UserError, match="not a readable MATLAB file"):
        load_basel(path)
