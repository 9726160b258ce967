"""Layered albedo of the head, from which the linear albedo basis is computed.

Skins are baked from MakeHuman's textures; hair, brows, beard, eyes and clothes are painted by the
position of each texel on the template head (metres; see `topology`). Colours are sRGB-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from gan3d_bench.files.photographs import read_picture

from .topology import IRIS_PLANE_RADIUS, MOUTH_UV, Topology

TEXTURE_SIZE = 192
LATENTS = 32
EYE_CENTRE = np.array([0.0308, -0.1392, 0.7295])
HAIR_PALETTE = np.array(
    [
        [0.05, 0.045, 0.045],
        [0.16, 0.105, 0.075],
        [0.33, 0.215, 0.13],
        [0.56, 0.40, 0.22],
        [0.80, 0.66, 0.43],
    ]
)
HAIR_STOPS = np.array([0.0, 0.35, 0.6, 0.8, 1.0])


@dataclass
class Chart:
    """What lies at each texel of the texture (at twice its resolution while baking)."""

    part: np.ndarray  # (S, S) index into PARTS, -1 where empty
    position: np.ndarray  # (S, S, 3) template position
    skin_uv: np.ndarray  # (S, S, 2) MakeHuman's coordinates
    uv: np.ndarray  # (S, S, 2)


def chart(topology: Topology, vertices: np.ndarray, size: int) -> Chart:
    """Rasterise the mesh in texture space: (V, 3) template vertices -> Chart."""
    part = np.full((size, size), -1)
    values = np.zeros((size, size, 7))
    corners = topology.uvs[topology.face_uvs] * size - 0.5
    data = np.concatenate(
        [
            vertices[topology.faces],
            np.nan_to_num(topology.skin_uvs)[topology.face_uvs],
            topology.uvs[topology.face_uvs],
        ],
        axis=2,
    )
    for corner, value, label in zip(corners, data, topology.face_parts, strict=True):
        lo = np.maximum(np.ceil(corner.min(0) - 0.01), 0).astype(int)
        hi = np.minimum(np.floor(corner.max(0) + 0.01), size - 1).astype(int)
        if (hi < lo).any():
            continue
        x, y = np.meshgrid(np.arange(lo[0], hi[0] + 1), np.arange(lo[1], hi[1] + 1))
        (ax, ay), (bx, by), (cx, cy) = corner
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        w1 = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w2 = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        weights = np.stack([1 - w1 - w2, w1, w2], -1)
        inside = (weights > -0.02).all(-1)
        part[y[inside], x[inside]] = label
        values[y[inside], x[inside]] = weights[inside] @ value
    # The inside of the mouth has one colour: its faces have no area here.
    centres = (np.indices((size, size))[::-1].transpose(1, 2, 0) + 0.5) / size
    part[(np.abs(centres - MOUTH_UV) < 0.02).all(-1)] = 3
    return Chart(part, values[..., :3], values[..., 3:5], values[..., 5:7])


def sample_image(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear lookup of (H, W, C) at MakeHuman coordinates (v up)."""
    height, width = image.shape[:2]
    rows, columns = (1 - uv[..., 1]) * height - 0.5, uv[..., 0] * width - 0.5
    return np.stack(
        [
            ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest")
            for c in range(image.shape[2])
        ],
        -1,
    )


def read_image(path: Path) -> np.ndarray:
    """An image file -> (H, W, 3) floats in [0, 1]."""
    return np.asarray(read_picture(path), dtype=np.float64) / 255


def _step(value: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at -width to 1 at +width."""
    t = np.clip((value / width + 1) / 2, 0, 1)
    return t * t * (3 - 2 * t)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hair_depth(position: np.ndarray) -> np.ndarray:
    """How far (metres, about) a point lies inside the hair; negative on the face and neck."""
    y, z = position[..., 1], position[..., 2]
    line_y = [-0.16, -0.135, -0.115, -0.095, -0.080, -0.069, -0.056, -0.024, -0.010, 0.01, 0.05]
    line_z = [0.822, 0.812, 0.797, 0.776, 0.748, 0.718, 0.738, 0.742, 0.690, 0.672, 0.664]
    slope = np.gradient(np.interp(np.linspace(-0.16, 0.05, 211), line_y, line_z), 0.001)
    tilt = np.sqrt(1 + np.interp(y, np.linspace(-0.16, 0.05, 211), slope) ** 2)
    return (z - np.interp(y, line_y, line_z)) / tilt


def hair_volume(vertices: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """Offsets of hair at full amount, all over, on top and at the sides: (3, V, 3) metres."""
    inside = _step(hair_depth(vertices) - 0.010, 0.012) * (1 - ears)
    outward = vertices - np.array([0.0, -0.05, 0.735])
    outward = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
    top = _step(outward[:, 2] - 0.55, 0.4)
    side = _step(np.abs(outward[:, 0]) - 0.55, 0.35) * (1 - top)
    amounts = np.stack([0.012 * inside, 0.020 * inside * top, 0.012 * inside * side])
    return amounts[..., None] * outward


class Painter:
    """Paints albedo textures from 32 standard normals.

    Latents: 0-5 skin components, 6-8 lightness, redness, yellowness, 9-10 lips, 11 flush,
    12 shadow below the eyes, 13-14 soft noise, 15-17 hair tone, warmth, grey, 18-19 hairline and
    temples, 20 density, 21 sideburns, 22-23 beard and moustache, 24-26 brow thickness, darkness,
    height, 27-28 eye colour, 29-31 clothes.
    """

    def __init__(
        self,
        topology: Topology,
        vertices: np.ndarray,
        skins: Path,
        eyes: Path,
        masks: Path,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        fine = chart(topology, vertices, 2 * TEXTURE_SIZE)
        self.fine = fine
        self.is_skin = fine.part == 0
        self.position = fine.position
        self.skin_mean, self.skin_basis = self._skins(skins)
        self.lips, self.ears, self.lids = (
            self._mask(masks / f"mpfb_{name}.jpg") for name in ("lips", "ears", "eyelids")
        )
        self.vertex_ear_mask = self._vertex_mask(topology, masks / "mpfb_ears.jpg")
        self.irises = self._eyes(eyes)
        # Symmetric soft noise and hair strands, in the texture's own coordinates.
        size = 2 * TEXTURE_SIZE
        noise = rng.standard_normal((4, size, size))
        noise = noise + noise[:, :, ::-1]
        soft = [
            ndimage.gaussian_filter(n, sigma) for n, sigma in zip(noise[:2], (14, 26), strict=True)
        ]
        self.soft = np.stack([n / n.std() for n in soft])
        strands = ndimage.gaussian_filter(noise[2], (7, 1.6))
        self.strands = strands / strands.std()
        hairs = ndimage.gaussian_filter(noise[3], (1.0, 1.0))
        self.hairs = hairs / hairs.std()
        self.lid_distance = self._lid_distance(topology, vertices)
        used = _halve((fine.part >= 0).astype(float)[..., None])[..., 0] > 0.99
        self.nearest = ndimage.distance_transform_edt(
            ~used, return_distances=False, return_indices=True
        )
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.dtype == np.float64:
                setattr(self, name, value.astype(np.float32))
        fine.uv = fine.uv.astype(np.float32)

    def _flip(self, image: np.ndarray) -> np.ndarray:
        return image[:, ::-1]

    def _skins(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Mean and 6 unit-variance components of the symmetrised skins, (S, S, 3) each."""
        files = sorted(folder.glob("*.png"))
        images = []
        for path in files:
            image = sample_image(read_image(path), self.fine.skin_uv)
            image = (image + self._flip(image)) / 2
            image[~self.is_skin] = 0
            images.append(image)
        flat = np.stack(images).reshape(len(images), -1)
        mean = flat.mean(0)
        _, scale, rows = np.linalg.svd(flat - mean, full_matrices=False)
        basis = rows[:6] * scale[:6, None] / np.sqrt(len(images) - 1)
        shape = images[0].shape
        centre = basis.reshape(6, *shape)[:, self.is_skin].mean((1, 2))
        basis *= np.sign(centre)[:, None]
        return mean.reshape(shape), basis.reshape(6, *shape)

    def _mask(self, path: Path) -> np.ndarray:
        image = read_image(path)
        small = ndimage.uniform_filter(image[..., 0], 5)[..., None]
        return sample_image(small, self.fine.skin_uv)[..., 0] * self.is_skin

    def _vertex_mask(self, topology: Topology, path: Path) -> np.ndarray:
        """A region picture read at the vertices: (V,) in [0, 1]."""
        values = sample_image(read_image(path)[..., :1], np.nan_to_num(topology.skin_uvs))[:, 0]
        result = np.zeros(len(topology.vertex_parts))
        skin = topology.face_parts == 0
        result[topology.faces[skin]] = values[topology.face_uvs[skin]]
        return result

    def _eyes(self, folder: Path) -> np.ndarray:
        """The eye discs of all eye textures, brightened: (9, S, S, 3) on the eye's texels."""
        discs = []
        local = self._eye_radius_vector()
        for path in sorted(folder.glob("*.png")):
            image = read_image(path)
            window = image[60:240, 270:450].max(-1)
            rows, columns = np.nonzero(window < 0.1)
            centre = np.array([60 + np.median(rows), 270 + np.median(columns)])
            # 60 texture pixels are the iris' radius of 6.1 mm.
            scale = 60 / 0.0061 * IRIS_PLANE_RADIUS
            coordinates = [centre[0] + scale * local[..., 1], centre[1] + scale * local[..., 0]]
            disc = np.stack(
                [
                    ndimage.map_coordinates(image[..., c], coordinates, order=1, mode="nearest")
                    for c in range(3)
                ],
                -1,
            )
            radius = np.linalg.norm(local, axis=-1) * IRIS_PLANE_RADIUS
            white = np.array([0.78, 0.75, 0.73]) * (
                0.55 + 0.45 * disc.mean(-1, keepdims=True) / 0.75
            ).clip(0.8, 1.1)
            disc = np.where((radius > 0.0064)[..., None], white, disc * 0.9)
            discs.append(disc)
        return np.stack(discs)

    def _eye_radius_vector(self) -> np.ndarray:
        return (self.fine.uv - np.array([0.93, 0.93])) / 0.06

    def _lid_distance(self, topology: Topology, vertices: np.ndarray) -> np.ndarray:
        """Distance of each skin texel to the nearest edge of an eyelid, metres."""
        from scipy.spatial import cKDTree

        loops = []
        for lid in topology.lids:
            ring = vertices[lid]
            following = np.roll(ring, -1, axis=0)
            loops += [ring + t * (following - ring) for t in np.linspace(0, 1, 6)[:-1]]
        distance, _ = cKDTree(np.concatenate(loops)).query(self.position)
        return np.where(self.is_skin, distance, 1.0)

    def paint(self, latents: np.ndarray) -> np.ndarray:
        """(N, 32) standard normals -> (N, S, S, 3) sRGB textures in [0, 1]."""
        return np.stack([self._paint(z) for z in latents.astype(np.float32)])

    def _paint(self, z: np.ndarray) -> np.ndarray:
        x, y, height = (self.position[..., i] for i in range(3))
        limited = np.clip(z, -2.5, 2.5)
        skin_level = 1.35 * np.tanh(0.8 * limited[0])
        skin = self.skin_mean + skin_level * self.skin_basis[0]
        skin = skin + np.tensordot(0.35 * limited[1:6], self.skin_basis[1:], 1)
        # Dark skins go on where light ones begin: -1 .. 1.
        lightness = np.tanh(skin_level + 0.5)
        skin = np.clip(skin, 0.03, 1) * np.exp(0.07 * limited[6])
        skin = skin + 0.014 * limited[7] * np.array([1.0, -0.35, -0.25])
        skin = skin + 0.015 * limited[8] * np.array([0.5, 0.35, -1.0])
        lips = self.lips[..., None]
        skin = skin + lips * (
            0.028 * limited[9] * np.array([1.0, -0.9, -0.5])
            - 0.035 * limited[10]
            + np.array([-0.02, -0.07, -0.05]) * (1 + lightness) / 2
            + np.array([0.08, 0.0, 0.01]) * (1 - lightness) / 2
        )
        cheek = np.exp(
            -(
                ((np.abs(x) - 0.043) / 0.018) ** 2
                + ((height - 0.690) / 0.018) ** 2
                + ((y + 0.13) / 0.05) ** 2
            )
        )[..., None]
        skin = skin + cheek * 0.03 * (limited[11] + 0.6) * np.array([1.0, -0.5, -0.4])
        bag = np.exp(
            -(
                ((np.abs(x) - 0.031) / 0.015) ** 2
                + ((height - 0.713) / 0.006) ** 2
                + ((y + 0.135) / 0.03) ** 2
            )
        )[..., None]
        skin = skin * (1 - 0.10 * bag * _sigmoid(1.2 * limited[12]))
        skin = skin + (0.012 * np.tensordot(limited[13:15], self.soft, 1))[..., None]
        # Lashes and the shadow of the lid.
        lash = np.exp(-((self.lid_distance / 0.0016) ** 2))[..., None]
        skin = skin * (1 - 0.72 * lash)

        tone = _sigmoid(1.15 * limited[15] + 1.1 * lightness - 1.2)
        hair = np.stack([np.interp(tone, HAIR_STOPS, HAIR_PALETTE[:, c]) for c in range(3)])
        hair = hair + limited[16] * np.array([0.045, 0.0, -0.02]) * (0.3 + tone)
        grey = _sigmoid(2.2 * limited[17] - 3.2)
        hair = hair + grey * (np.array([0.60, 0.59, 0.58]) - hair)
        hair = np.clip(hair, 0.02, 0.95)

        brow_colour = np.clip(0.75 * hair + 0.01, 0.02, 0.6) * (0.8 + 0.1 * limited[25])
        skin = self._brows(skin, brow_colour, limited)
        depth = hair_depth(self.position)
        front = _step(-0.085 - y, 0.02)
        temple = np.exp(-(((np.abs(x) - 0.052) / 0.016) ** 2)) * front
        depth = depth - front * 0.006 * limited[18] - temple * 0.007 * (limited[19] + 0.5)
        burns = np.exp(-(((y + 0.072) / 0.012) ** 2)) * (height < 0.76)
        depth = depth + 0.009 * burns * limited[21]
        jagged = 0.0022 * self.hairs + 0.0012 * self.strands
        density = _sigmoid(1.6 * limited[20] + 2.6)
        alpha = _step(depth + jagged, 0.006) * density * (1 - 0.95 * _step(self.ears - 0.4, 0.3))
        shade = np.exp(0.13 * self.strands + 0.07 * self.hairs)[..., None]
        image = skin + alpha[..., None] * (hair * shade - skin)

        beard = self._beard(limited) * (1 + 0.12 * self.hairs).clip(0.4, 1.4)
        beard_colour = np.clip(0.8 * hair, 0.02, 0.6)
        image = image + beard.clip(0, 0.92)[..., None] * (beard_colour - image)
        image = np.where(self.is_skin[..., None], image, 0)
        self._paint_eyes(image, limited, lightness)
        self._paint_clothes(image, skin, limited)
        return _halve(np.clip(image, 0.01, 1))

    def _brows(self, skin: np.ndarray, colour: np.ndarray, z: np.ndarray) -> np.ndarray:
        x, y, height = np.abs(self.position[..., 0]), self.position[..., 1], self.position[..., 2]
        t = (x - 0.0125) / 0.0385  # 0 at the inner end, 1 at the outer
        centre = 0.7475 + 0.0012 * z[26] + 0.0085 * t - 0.0105 * np.clip(t - 0.62, 0, None) * 2
        thick = 0.0036 * np.exp(0.22 * z[24]) * (1 - 0.55 * np.clip(t, 0, 1.2))
        across = (height - centre) / np.maximum(thick, 1e-4)
        alpha = np.exp(-(across**4)) * _step(t + 0.03, 0.08) * _step(1.02 - t, 0.10)
        alpha = alpha * (y < -0.09) * (0.86 * _sigmoid(1.0 * z[25] + 2.0))
        alpha = (alpha * (1 + 0.15 * self.hairs)).clip(0, 0.95)[..., None]
        return skin + alpha * (colour - skin)

    def _beard(self, z: np.ndarray) -> np.ndarray:
        x, y, height = np.abs(self.position[..., 0]), self.position[..., 1], self.position[..., 2]
        line = np.interp(
            y,
            [-0.16, -0.148, -0.135, -0.115, -0.09, -0.07, -0.05],
            [0.650, 0.651, 0.661, 0.668, 0.680, 0.715, 0.68],
        )
        chin = _step(line - height, 0.006) * _step(height - 0.622, 0.010) * (y < -0.052)
        lip = (
            _step(height - 0.6715, 0.0025)
            * _step(0.6855 - height - 0.25 * x, 0.0025)
            * _step(0.028 - x, 0.005)
            * (y < -0.12)
        )
        lips = 1 - _step(self.lips - 0.25, 0.2)
        amount = 0.85 * _sigmoid(2.6 * z[22] - 3.4)
        extra = 0.75 * _sigmoid(2.6 * z[23] - 3.6)
        return (amount * np.maximum(chin, lip) + extra * (1 - amount) * lip) * lips

    def _paint_eyes(self, image: np.ndarray, z: np.ndarray, lightness: float) -> None:
        # Order of the files: blue, bluegreen, brown, brownlight, deepblue, green, grey, ice,
        # lightblue; brown is the most frequent, and more so for dark skin and hair.
        dark = 1.6 - 1.5 * lightness - 0.8 * z[15]
        base = np.array([0.0, -1.6, 1.2 + dark, 1.0 + 0.6 * dark, -2.5, -0.4, 0.2, -1.2, -1.2])
        first = np.array([0.8, 0.2, -1.2, -0.6, 0.8, 0.2, 0.6, 0.4, 0.8])
        second = np.array([0.6, 0.0, 0.3, -0.8, 0.8, -1.2, 0.2, -0.5, 0.3])
        score = base + 1.5 * z[27] * first + 1.2 * z[28] * second
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        eyes = np.isin(self.fine.part, (1, 2))
        disc = np.tensordot(weight, self.irises, 1)
        image[eyes] = disc[eyes]

    def _paint_clothes(self, image: np.ndarray, skin: np.ndarray, z: np.ndarray) -> None:
        neck = self.is_skin & (self.position[..., 2] < 0.640) & (self.position[..., 1] > -0.10)
        tone = skin[neck].mean(0)
        clothes = self.fine.part == 4
        level = 0.42 + 0.17 * z[29]
        colour = (
            level
            + 0.10 * z[30] * np.array([1.0, -0.1, -0.9])
            + 0.07 * z[31] * np.array([-0.5, 1.0, -0.5])
        )
        colour = np.clip(colour, 0.05, 0.92)
        # The collar starts below the second ring of the neck.
        row = (self.fine.uv[..., 1] - 0.885) / 0.105
        alpha = _step(row - 0.42, 0.03)[..., None]
        strip = tone + alpha * (colour * (1 + 0.04 * self.strands[..., None]) - tone)
        image[clothes] = strip[clothes]
        image[self.fine.part == 3] = np.array([0.16, 0.05, 0.045])

    def weights(self, eye: float, face: float) -> np.ndarray:
        """Weight of every texel and channel in the norm of the albedo basis, flattened."""
        front = (self.fine.position[..., 1] < -0.10) & self.is_skin
        weight = np.where(self.fine.part >= 0, 1.0, 0.0)
        weight = np.where(front, face, weight)
        # Iris and white of the eye: a disc of few texels that everybody looks at.
        disc = np.linalg.norm(self._eye_radius_vector(), axis=-1) < 0.75
        weight = np.where(np.isin(self.fine.part, (1, 2)), np.where(disc, eye, 0.1), weight)
        weight = np.where(self.fine.part == 4, 0.3, weight)
        return np.repeat(_halve(weight[..., None]), 3, axis=-1).reshape(-1)

    def fill(self, image: np.ndarray) -> np.ndarray:
        """Spread the colours of used texels into unused ones, against bleeding at the borders."""
        return image[self.nearest[0], self.nearest[1]]


def _halve(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
