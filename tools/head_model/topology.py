"""The head mesh: Anny's head skin and eye fronts, closed where a camera could look inside.

Template coordinates are Anny's: metres, +z up, the face looks along -y, +x is the subject's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Camera axes are x right, y down, z forward; the origin is the centre of rotation.
CENTRE = np.array([0.0, -0.052, 0.737])
METRES_TO_SCENE = 0.625

PARTS = ("skin", "left_eye", "right_eye", "mouth", "clothes")
IRIS_PLANE_RADIUS = 0.0138

# MakeHuman's chart of the head skin: bounds in its texture coordinates.
ISLAND_LOW, ISLAND_HIGH = np.array([0.641249, 0.148696]), np.array([0.993515, 0.817634])
# The front of the neck belongs to the chart of the torso, which is upright.
NECK_LOW, NECK_HIGH = np.array([0.325669, 0.918514]), np.array([0.435392, 0.958422])

# (outward scale of the ring, drop in metres): the neck goes on, then opens into shoulders.
NECK_RINGS = ((1.0, 0.012), (1.06, 0.026), (1.55, 0.042), (2.4, 0.058), (2.9, 0.085), (3.0, 0.14))
MOUTH_UV = np.array([0.975, 0.835])
MOUTH_RINGS = ((0.95, 0.006), (0.6, 0.018))


@dataclass
class Topology:
    """Which of Anny's vertices are kept, what is added to them, and the final mesh."""

    kept: np.ndarray  # (Vk,) indices into Anny's vertices
    neck: np.ndarray  # ordered loop, indices into the kept vertices
    mouth: np.ndarray
    lids: tuple[np.ndarray, np.ndarray]  # left, right
    eyes: tuple[np.ndarray, np.ndarray]  # vertices of the eye fronts
    faces: np.ndarray  # (F, 3)
    face_parts: np.ndarray  # (F,) index into PARTS
    vertex_parts: np.ndarray  # (V,)
    face_uvs: np.ndarray  # (F, 3) indices into uvs
    uvs: np.ndarray  # (U, 2) in [0, 1], origin at the top left texel corner
    skin_uvs: np.ndarray  # (U, 2) MakeHuman's texture coordinates (v up), nan off the skin
    mirror: np.ndarray  # (V,) index of the mirrored vertex

    def extend(self, kept: np.ndarray) -> np.ndarray:
        """Add the derived vertices, affine in the kept ones: (N, Vk, 3) -> (N, V, 3)."""
        parts = [kept]
        neck = kept[:, self.neck]
        centre = neck.mean(1, keepdims=True)
        for scale, drop in NECK_RINGS:
            # The neck's rim is slanted; far rings are level, so that shoulders are.
            level = min(1.0, drop / 0.042)
            ring = centre + (neck - centre) * np.array([scale, min(scale, 1.5), 1 - level])
            parts.append(ring - np.array([0.0, 0.0, drop]))
        for lid, eye in zip(self.lids, self.eyes, strict=True):
            middle = kept[:, eye].mean(1, keepdims=True) + np.array([0.0, 0.004, 0.0])
            parts.append(kept[:, lid] + 0.35 * (middle - kept[:, lid]))
        mouth = kept[:, self.mouth]
        centre = mouth.mean(1, keepdims=True)
        for scale, back in MOUTH_RINGS:
            parts.append(centre + (mouth - centre) * scale + np.array([0.0, back, 0.0]))
        parts.append(centre + np.array([0.0, MOUTH_RINGS[-1][1] + 0.004, 0.0]))
        return np.concatenate(parts, axis=1)


def to_camera_axes(vertices: np.ndarray, offsets: bool = False) -> np.ndarray:
    """Template metres -> scene units, x right, y down, z forward, about the centre of rotation."""
    shifted = vertices if offsets else vertices - CENTRE
    return shifted[..., [0, 2, 1]] * np.array([1.0, -1.0, 1.0]) * METRES_TO_SCENE


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """The ordered loops of edges that only one face uses."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    known = {tuple(edge) for edge in edges}
    following = {int(a): int(b) for a, b in edges if (b, a) not in known}
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return loops


def _stretch(t: np.ndarray, amount: float) -> np.ndarray:
    """Monotone map of [0, 1] to itself with slope 1 + amount at 0."""
    return t * (1 + amount) / (1 + amount * t)


def layout_skin(skin_uv: np.ndarray) -> np.ndarray:
    """Texture coordinates of the skin: the face upright, and stretched over half of the width.

    The chart of the scalp is cut along the back of the head, which no view of the suite shows.
    """
    across = (skin_uv[:, 1] - (ISLAND_LOW[1] + ISLAND_HIGH[1]) / 2) / (
        (ISLAND_HIGH[1] - ISLAND_LOW[1]) / 2
    )
    down = (skin_uv[:, 0] - ISLAND_LOW[0]) / (ISLAND_HIGH[0] - ISLAND_LOW[0])
    neck = (skin_uv - NECK_LOW) / (NECK_HIGH - NECK_LOW)
    on_neck = skin_uv[:, 0] < ISLAND_LOW[0] - 0.1
    u = 0.5 + 0.49 * np.sign(across) * _stretch(np.minimum(np.abs(across), 1), 1.4)
    v = 0.01 + 0.78 * (1 - _stretch(1 - down.clip(0, 1), 0.8))
    u = np.where(on_neck, 0.5 + 0.3 * (neck[:, 0] - 0.5), u)
    v = np.where(on_neck, 0.81 + 0.06 * (1 - neck[:, 1]), v)
    return np.stack([u, v], 1)


def build(model) -> Topology:
    """Read the mesh of an Anny head and close it."""
    from anny.face_segmentation import get_face_segmentation_mask

    all_faces = model.faces.numpy()
    all_uv_ids = model.face_texture_coordinate_indices.numpy()
    uv_table = model.texture_coordinates.numpy()
    select = {
        label: get_face_segmentation_mask(model, [label]).numpy()
        for label in ("head", "eye_front.L", "eye_front.R")
    }
    order = np.concatenate([np.flatnonzero(mask) for mask in select.values()])
    counts = [int(mask.sum()) for mask in select.values()]
    face_parts = np.repeat(np.arange(3), counts)
    kept = np.unique(all_faces[order])
    renumber = np.full(len(model.template_vertices), -1)
    renumber[kept] = np.arange(len(kept))
    faces = renumber[all_faces[order]]
    template = model.template_vertices.numpy()[kept].astype(np.float64)

    def find(test) -> np.ndarray:
        (loop,) = [loop for loop in boundary_loops(faces) if test(loop, template[loop].mean(0))]
        return loop

    neck = find(lambda loop, _: len(loop) == 42)
    mouth = find(lambda loop, _: len(loop) == 38)
    lids = tuple(
        find(lambda loop, centre, side=side: len(loop) == 28 and centre[0] * side > 0)
        for side in (1, -1)
    )
    eyes = tuple(np.unique(faces[face_parts == part]) for part in (1, 2))

    # Texture coordinates: one table; the skin keeps MakeHuman's chart (seams included).
    skin_faces = face_parts == 0
    used, skin_corner = np.unique(all_uv_ids[order[skin_faces]], return_inverse=True)
    skin_uv = uv_table[used].astype(np.float64)
    uvs, skin_uvs = [layout_skin(skin_uv)], [skin_uv]
    face_uvs = np.zeros_like(faces)
    face_uvs[skin_faces] = skin_corner.reshape(-1, 3)
    total = len(used)

    def add_uvs(uv: np.ndarray) -> np.ndarray:
        nonlocal total
        uvs.append(uv)
        skin_uvs.append(np.full_like(uv, np.nan))
        total += len(uv)
        return np.arange(total - len(uv), total)

    eye_box = np.array([0.93, 0.93])
    for part, eye, side in ((1, eyes[0], 1.0), (2, eyes[1], -1.0)):
        rim_centre = (template[eye].min(0) + template[eye].max(0)) / 2
        planar = (template[eye] - rim_centre)[:, [0, 2]] * np.array([side, -1.0])
        ids = np.full(len(kept), -1)
        ids[eye] = add_uvs(eye_box + 0.06 * planar / IRIS_PLANE_RADIUS)
        face_uvs[face_parts == part] = ids[faces[face_parts == part]]

    # A vertex of a loop keeps the texture coordinates of one of its skin corners.
    corner_uv = np.zeros(len(kept), dtype=int)
    corner_uv[faces[skin_faces].ravel()] = face_uvs[skin_faces].ravel()

    new_faces, new_uvs, new_parts = [faces], [face_uvs], [face_parts]
    count = len(kept)

    def bridge(upper, lower, upper_uv, lower_uv, part: int) -> None:
        following = np.roll(np.arange(len(upper)), -1)
        a, b, c, d = upper, upper[following], lower, lower[following]
        ua, ub, uc, ud = upper_uv, upper_uv[following], lower_uv, lower_uv[following]
        # The loop runs along its faces; the new faces meet it the other way round.
        new_faces.append(np.concatenate([np.stack([b, a, c], 1), np.stack([b, c, d], 1)]))
        new_uvs.append(np.concatenate([np.stack([ub, ua, uc], 1), np.stack([ub, uc, ud], 1)]))
        new_parts.append(np.full(2 * len(upper), part))

    def fresh(length: int) -> np.ndarray:
        nonlocal count
        count += length
        return np.arange(count - length, count)

    # Neck and shoulders: a strip below the skin chart. |angle| about the neck runs along u, so
    # left and right share texels and the strip has no seam.
    centred = template[neck] - template[neck].mean(0)
    angle = np.abs(np.arctan2(centred[:, 0], -centred[:, 1])) / np.pi
    upper = neck
    upper_uv = add_uvs(np.stack([0.01 + 0.83 * angle, np.full(len(neck), 0.885)], 1))
    for step in range(len(NECK_RINGS)):
        lower = fresh(len(neck))
        row = 0.885 + 0.105 * (step + 1) / len(NECK_RINGS)
        lower_uv = add_uvs(np.stack([0.01 + 0.83 * angle, np.full(len(neck), row)], 1))
        bridge(upper, lower, upper_uv, lower_uv, 4)
        upper, upper_uv = lower, lower_uv
    for lid in lids:
        bridge(lid, fresh(len(lid)), corner_uv[lid], corner_uv[lid], 0)
    inside = add_uvs(MOUTH_UV[None])
    upper, upper_uv = mouth, np.repeat(inside, len(mouth))
    for _ in MOUTH_RINGS:
        lower, lower_uv = fresh(len(mouth)), np.repeat(inside, len(mouth))
        bridge(upper, lower, upper_uv, lower_uv, 3)
        upper, upper_uv = lower, lower_uv
    apex = fresh(1)
    following = np.roll(upper, -1)
    new_faces.append(np.stack([following, upper, np.repeat(apex, len(upper))], 1))
    new_uvs.append(np.repeat(inside, 3 * len(upper)).reshape(-1, 3))
    new_parts.append(np.full(len(upper), 3))

    topology = Topology(
        kept=kept,
        neck=neck,
        mouth=mouth,
        lids=lids,
        eyes=eyes,
        faces=np.concatenate(new_faces),
        face_parts=np.concatenate(new_parts),
        vertex_parts=np.zeros(count, dtype=np.int64),
        face_uvs=np.concatenate(new_uvs),
        uvs=np.concatenate(uvs),
        skin_uvs=np.concatenate(skin_uvs),
        mirror=np.zeros(count, dtype=np.int64),
    )
    for part in reversed(range(len(PARTS))):
        topology.vertex_parts[topology.faces[topology.face_parts == part]] = part
    topology.mirror[:] = _mirror(topology.extend(template[None])[0], topology.vertex_parts)
    return topology


def _mirror(vertices: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Partner of every vertex under x -> -x; the template is exactly symmetric."""
    from scipy.spatial import cKDTree

    # Several layers (lid and eye) may touch: a fourth coordinate keeps the parts apart.
    swap = np.array([0, 2, 1, 3, 4])[parts]
    tree = cKDTree(np.concatenate([vertices, parts[:, None]], 1))
    query = np.concatenate([vertices * np.array([-1.0, 1.0, 1.0]), swap[:, None]], 1)
    distance, partner = tree.query(query)
    if distance.max() > 1e-5 or not np.array_equal(partner[partner], np.arange(len(partner))):
        raise ValueError(f"the template is not symmetric: {distance.max():.2e} m")
    return partner
