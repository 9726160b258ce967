"""The Basel Face Model's chain against the fitting tool's own output (vector `bfm_projection`)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from gan3d_bench.faces.bfm_vector import from_bfm_vector, to_bfm_vector
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_fit import place
from gan3d_bench.geometry.basel import BaselCamera, load_basel
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.rendering.shading import SphericalHarmonicsLight, spherical_harmonics_basis

FOLDER = Path(__file__).parent / "bfm_projection"


@pytest.fixture(scope="module")
def vector() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "arrays.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def settings() -> dict:
    return json.loads((FOLDER / "vector.json").read_text())


@pytest.fixture(scope="module", params=["BFM09_model_info.mat", "BFM_model_front.mat"])
def model(request, vector, settings, tmp_path_factory) -> MorphableModel:
    """The model, through a file of the official layout (1-based indices)."""
    data = {}
    for key, rule in settings["weights"]["keys"].items():
        normal = np.random.RandomState(zlib.crc32(key.encode())).randn(*rule["shape"])
        add = rule["add"]
        if isinstance(add, str):
            add = vector["in_template_verts"].reshape(1, -1)
        data[key] = (normal * rule["scale"] + add).astype(np.float32)
    data["tri"] = vector["in_faces"] + 1
    data["keypoints"] = vector["in_keypoints"][None] + 1
    data["skinmask"] = vector["in_skinmask"].astype(np.float64)
    path = tmp_path_factory.mktemp("basel") / request.param
    savemat(path, data)
    return load_basel(path.parent if "front" in request.param else path)


def close(ours: torch.Tensor, theirs: np.ndarray, atol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-4, atol=atol)


def test_shape_pose_and_projection(model, vector, settings) -> None:
    coefficients = torch.from_numpy(vector["in_coeffs"])
    rule = settings["inputs"]
    camera = BaselCamera(rule["img_size"], rule["focal"], rule["camera_distance"])
    angles, translation = coefficients[:, 224:227], coefficients[:, 254:257]
    vertices = model.vertices(coefficients[:, :80], coefficients[:, 80:144])
    close(vertices, vector["vertices"])
    close(camera.rotation(angles), vector["rotation"])
    posed = camera.transform(vertices, angles, translation)
    close(posed, vector["vertices_cam"])
    close(camera.project(posed), vector["projected"], atol=1e-3)
    close(camera.project(model.landmark_points(posed)), vector["lms_proj"], atol=1e-3)


def test_albedo_normals_and_light(model, vector) -> None:
    coefficients = torch.from_numpy(vector["in_coeffs"])
    vertices = model.vertices(coefficients[:, :80], coefficients[:, 80:144])
    normals = vertex_normals(vertices, model.faces)
    close(normals, vector["normals"])
    turned = normals @ BaselCamera.rotation(coefficients[:, 224:227])
    close(turned, vector["normals_rot"])
    texture = (model.albedo(coefficients[:, 144:224]) + 1) * 127.5
    close(texture, vector["face_texture"], atol=1e-3)
    light = SphericalHarmonicsLight.from_gamma(coefficients[:, 227:254]).coefficients
    shade = torch.einsum("bvk,bck->bvc", spherical_harmonics_basis(turned), light)
    close(texture * shade, vector["face_color"], atol=1e-2)


def test_vectors_of_the_tool_are_fits_of_ours(model, vector, settings) -> None:
    """Projection, colours and light are the tool's; the way back gives the same numbers."""
    space = FaceModel.of(model)
    coefficients = torch.from_numpy(vector["in_coeffs"])
    fit = from_bfm_vector(coefficients, space)
    rule = settings["inputs"]
    # the same focal length; integers are the centres of our pixels, corners of the tool's
    size, focal = rule["img_size"], rule["focal"]
    posed = place(fit.pose, space.vertices(fit.shape))
    plane = posed[..., :2] / posed[..., 2:]
    close(focal * plane + size // 2, vector["projected"], atol=2e-3)
    shade = SphericalHarmonicsLight(fit.light)
    normals = vertex_normals(posed, space.faces)
    shading = shade.shade(normals.mT[..., None])[..., 0].mT
    lit = (space.colours(fit.colour) + 1) * shading * 127.5
    close(lit, vector["face_color"], atol=2e-2)
    torch.testing.assert_close(to_bfm_vector(fit, space), coefficients, rtol=1e-5, atol=1e-5)


def test_vectors_of_another_model_are_refused(model) -> None:
    space = FaceModel.of(model)
    with pytest.raises(ValueError, match="257"):
        from_bfm_vector(torch.zeros(1, 177), space)
    with pytest.raises(ValueError, match="expected 144 and 80"):
        from_bfm_vector(torch.zeros(1, 257), FaceModel.of(MorphableModel.load_heads()))
