"""Cutting photographs as FFHQ's were cut, so that a generator trained on FFHQ knows them.

The recipe of FFHQ (Karras et al. 2019; dlib's 68 landmarks there, SCRFD's five points here): an
upright square about the eyes' and mouth's midpoints, its sides along the mean of the eye-to-eye and
the turned eye-to-mouth direction. Where it leaves the photograph, the photograph is
mirrored, blurred and faded to its median colour.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.filters import gaussian_blur2d
from torch import Tensor

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.faces.alignment import similarity
from gan3d_bench.faces.scrfd import FaceDetector, detect_any_way_up

log = logging.getLogger(__name__)

Fit = Literal["ffhq", "template"]
Choice = Literal["largest", "all"]

DETECTION_SIZES = (128, 256, 640)
"""Passes over a whole photograph: faces of a fortieth of its longer side up to all of it."""
REFINEMENTS = 2
REFINEMENT_SIZE = 256
INVENTED = 0.3
"""Share of an aligned picture from outside of its photograph that is worth a warning."""
PADDING = 0.3
"""Depth of the mirrored border in sides of the square; beyond it lies the median colour."""
BLUR = 0.02
"""Standard deviation of its blur in sides of the square."""

TEMPLATE = (
    (0.3739, 0.4741),
    (0.6261, 0.4741),
    (0.5000, 0.6191),
    (0.3862, 0.7264),
    (0.6138, 0.7264),
)
"""(x, y) of the mean FFHQ face in sides of the square, in the order of `alignment.TEMPLATE`.

SCRFD's points on 400 samples of MobileStyleGAN-FFHQ at psi 0.7, averaged with their mirror. One
sample lies 4.5 pixels of 256 from it, in the mean over the five points: 2 at the eyes, 8 at the
nose, which a turned head moves.
"""


@dataclass(frozen=True)
class AlignedPhotograph:
    """One face, cut out of its photograph."""

    image: Float[Tensor, "3 S S"]
    """RGB in [-1, 1], on the CPU."""
    points: Float[Tensor, "5 2"]
    """(x, y) in pixels of `image`, in the order of `alignment.TEMPLATE`."""
    matrix: Float[Tensor, "2 3"]
    """Similarity from the photograph's pixels to those of `image`; its inverse pastes back."""
    score: float
    """Of the detector, 0 to 1."""
    photograph: int = 0
    """Which of the photographs given."""
    invented: float = 0.0
    """Share of `image` that lies outside of the photograph: its mirror, blurred, and its median."""

    @property
    def quad(self) -> Float[Tensor, "4 2"]:
        """Corners of the square in pixels of the photograph: around from the image's top left."""
        size = self.image.shape[-1]
        corners = torch.tensor([[0.0, 0.0], [0.0, size], [size, size], [size, 0.0]]) - 0.5
        return transform(invert(self.matrix), corners)


def template(size: int) -> Float[Tensor, "5 2"]:
    """Return the five points of a mean FFHQ face in pixels of an aligned image of `size`."""
    return torch.tensor(TEMPLATE) * size - 0.5


def recipe(points: Float[Tensor, "5 2"], size: int) -> Float[Tensor, "2 3"]:
    """Return FFHQ's similarity from the photograph's pixels to an aligned image of `size`.

    With e from eye to eye and m from the eyes' midpoint to the mouth's, the square's x axis runs
    along e - i m (as complex numbers), its side is max(4 |e|, 3.6 |m|), and its centre lies a tenth
    of m below the eyes' midpoint.

    Raises:
        ValueError: the points coincide.
    """
    x, y = points.double().unbind(1)
    eye, other, _, corner, end = torch.complex(x, y)
    across, middle = other - eye, (eye + other) / 2
    down = (corner + end) / 2 - middle
    axis = across - 1j * down
    side = torch.maximum(4 * across.abs(), 3.6 * down.abs())
    if not side > 0 or not axis.abs() > 0:
        raise ValueError("the five points coincide")
    turn = size / side * axis.conj() / axis.abs()
    # the square's centre becomes the image's, pixels being half a pixel off their corners
    shift = (size - 1) / 2 * (1 + 1j) - turn * (middle + down / 10)
    matrix = torch.stack([turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag])
    return matrix.view(2, 3).to(points.dtype)


def fit_template(points: Float[Tensor, "5 2"], size: int) -> Float[Tensor, "2 3"]:
    """Return the least-squares similarity that takes the points to `template`."""
    return similarity(points[None], template(size).to(points)[None])[0]


FITS = {"ffhq": recipe, "template": fit_template}


def transform(matrix: Float[Tensor, "2 3"], points: Float[Tensor, "*N 2"]) -> Tensor:
    """Return points (x, y) moved by a similarity."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """Return the inverse of a similarity."""
    linear = torch.linalg.inv(matrix[:, :2])
    return torch.cat([linear, -linear @ matrix[:, 2:]], 1)


def cut(
    photograph: Float[Tensor, "3 H W"], matrix: Float[Tensor, "2 3"], size: int
) -> Float[Tensor, "3 S S"]:
    """Return the part of a photograph that a similarity takes to an image of `size`.

    Shrunk without aliasing. Outside the photograph as FFHQ has it: mirrored, blurred, fading to the
    median colour.

    Args:
        photograph: RGB in [-1, 1].
        matrix: from its pixels to those of the result.
        size: pixels a side.
    """
    height, width = photograph.shape[-2:]
    back = invert(matrix.double())
    # samples a pixel along each axis; `_sample` leaves less than two pixels between them
    rate = 1 if _scale(back) <= 1 else 2
    steps = (torch.arange(rate * size, dtype=torch.float64) - (rate - 1) / 2) / rate
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    places = transform(back, grid)
    image = _sample(photograph, _mirror(places, width, height), _scale(back))
    image = F.avg_pool2d(image[None], rate)
    outside = _outside(F.avg_pool2d(places.permute(2, 0, 1)[None], rate)[0], width, height)
    if outside is None:
        return image[0]
    depth = outside / (PADDING * size * _scale(back))
    sigma = max(BLUR * size, 0.1)
    kernel = min(2 * math.ceil(3 * sigma) + 1, 2 * size - 1)
    blurred = gaussian_blur2d(image, (kernel, kernel), (sigma, sigma), border_type="reflect")
    median = image[0, :, outside <= 0] if (outside <= 0).any() else image[0].flatten(1)
    image = image.lerp(blurred, (3 * depth + 1).clamp(0, 1).to(image)[None, None])
    median = median.median(1).values[:, None, None].expand(-1, size, size)
    return image[0].lerp(median, depth.clamp(0, 1).to(image)[None])


def outside_share(matrix: Float[Tensor, "2 3"], size: int, width: int, height: int) -> float:
    """Return the share of an aligned image's pixels that come from outside of its photograph.

    Args:
        matrix: from the photograph's pixels to those of the image.
        size: pixels a side of the image.
        width, height: of the photograph.
    """
    steps = torch.arange(size, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    x, y = transform(invert(matrix.double()), grid).unbind(-1)
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return outside.double().mean().item()


def _scale(matrix: Tensor) -> float:
    return math.sqrt(abs(torch.linalg.det(matrix[:, :2]).item()))


def _mirror(places: Tensor, width: int, height: int) -> Tensor:
    """Return where a point outside lies in the mirror of the photograph's edges."""
    last = torch.tensor([width - 1, height - 1], dtype=places.dtype).clamp(min=1e-3)
    folded = places.abs().remainder(2 * last)
    return torch.minimum(folded, 2 * last - folded)


def _outside(places: Tensor, width: int, height: int) -> Tensor | None:
    """Return how many pixels points (2, S, S) lie outside, negative inside; None if none is.

    Counts the sides only that some point is beyond: the others need no border.
    """
    x, y = places
    beyond = [side for side in (-x, x - (width - 1), -y, y - (height - 1)) if side.max() > 0.5]
    return torch.stack(beyond).amax(0) if beyond else None


def _sample(photograph: Tensor, places: Tensor, scale: float) -> Tensor:
    """Return bilinear values at points within a photograph, averaged before it over whole pixels.

    Args:
        photograph: (3, H, W).
        places: (N, M, 2).
        scale: pixels of the photograph per pixel of the result.
    """
    factor = max(1, int(scale))
    low = places.amin((0, 1)).floor().long()
    high = places.amax((0, 1)).ceil().long() + 1
    part = photograph[:, low[1] : high[1], low[0] : high[0]][None].float()
    if factor > 1:
        part = F.avg_pool2d(part, factor, ceil_mode=True, count_include_pad=False)
    places = (places - low - (factor - 1) / 2) / factor
    extent = torch.tensor([part.shape[-1], part.shape[-2]])
    grid = ((2 * places + 1) / extent - 1).to(part)
    return F.grid_sample(part, grid[None], padding_mode="border", align_corners=False)[0]


class PhotographAligner:
    """Finds the faces of photographs of any size and cuts them as FFHQ's.

    A face is found in the whole photograph, and then again, twice, in the cut it gave and in that
    one's mirror, where every face has the size and tilt that the detector knows best. 96 samples of
    MobileStyleGAN-FFHQ, aligned by their making, were laid into photographs at tilts within 20
    degrees: their five points come back to 1.6 pixels of 256 (mean; without the second look 3.0),
    scaled by 0.985 +- 0.026 and turned by 0.7 degrees.

    Args:
        detector: None opens the asset ``scrfd-500m``.
        size: of the aligned images.
        faces: of each photograph the ``largest`` or ``all``, largest first.
        fit: ``ffhq``, the recipe; or ``template``, the least-squares similarity to the mean FFHQ
            face. The recipe comes nearer to FFHQ's own squares (2.1 pixels of 256 against 2.9 on
            400 samples), as a turned head's nose does not move it.
        sizes: see `FaceDetector.detect`.

    Raises:
        UserError: the asset is missing or damaged; unknown `faces` or `fit`.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        *,
        size: int = 256,
        faces: Choice = "largest",
        fit: Fit = "ffhq",
        sizes: Sequence[int] = DETECTION_SIZES,
    ) -> None:
        if faces not in ("largest", "all"):
            raise unknown_name("choice of faces", faces, ("largest", "all"))
        if fit not in FITS:
            raise unknown_name("fit", fit, FITS)
        self.detector = detector or FaceDetector()
        self.size = size
        self.faces = faces
        self.fit = fit
        self.sizes = tuple(sizes)

    def __call__(
        self,
        images: Float[Tensor, "3 H W"] | Sequence[Float[Tensor, "3 H W"]],
        names: Sequence[str] | None = None,
    ) -> list[AlignedPhotograph]:
        """Return the faces of one or several photographs, in their order.

        Args:
            images: RGB in [-1, 1], of any sizes.
            names: what errors call them; None is "photograph 1" and so on.

        Raises:
            UserError: a photograph without a face, by name; `find` gives an empty list instead.
        """
        images = [images] if isinstance(images, Tensor) else list(images)
        names = names or [f"photograph {i + 1}" for i in range(len(images))]
        found = [self.find(image, i) for i, image in enumerate(images)]
        without = [name for name, faces in zip(names, found, strict=True) if not faces]
        if without:
            raise UserError(no_face(without[0], self.detector, len(without)))
        for face in (face for faces in found for face in faces):
            if face.invented > INVENTED:
                log.warning(
                    "%r: %.0f %% of the aligned picture lie outside of the photograph and are "
                    "invented; expected a photograph with room around the face",
                    names[face.photograph],
                    100 * face.invented,
                )
        return [face for faces in found for face in faces]

    def find(self, image: Float[Tensor, "3 H W"], photograph: int = 0) -> list[AlignedPhotograph]:
        """Return the faces of one photograph, largest first; without a face an empty list."""
        aligned = []
        for points, score in self.locate(image):
            matrix = FITS[self.fit](points, self.size)
            crop = cut(image, matrix, self.size)
            inside = transform(matrix, points)
            share = outside_share(matrix, self.size, image.shape[-1], image.shape[-2])
            aligned.append(AlignedPhotograph(crop, inside, matrix, score, photograph, share))
        return aligned

    def locate(self, image: Float[Tensor, "3 H W"]) -> list[tuple[Float[Tensor, "5 2"], float]]:
        """Return (five points in pixels, score) of the faces that `find` cuts out."""
        image = image.detach().cpu()
        # the detector samples single pixels; those of a large photograph are averaged before it
        factor = max(1, max(image.shape[-2:]) // (2 * max(self.sizes)))
        small = F.avg_pool2d(image[None].float(), factor, ceil_mode=True, count_include_pad=False)
        found = detect_any_way_up(self.detector, small, self.sizes)[0]
        extent = found.boxes[:, 2:] - found.boxes[:, :2]
        order = extent.prod(1).argsort(descending=True, stable=True)
        points = found.points * factor + (factor - 1) / 2
        chosen = order if self.faces == "all" else order[:1]
        located = []
        for i in chosen.tolist():
            refined = points[i]
            for _ in range(REFINEMENTS):
                refined = self._refine(image, refined)
            located.append((refined, found.scores[i].item()))
        return located

    def _refine(self, image: Tensor, points: Tensor) -> Tensor:
        """Find points again in the cut they give and in its mirror: their mean leans to no side."""
        size = REFINEMENT_SIZE
        matrix = recipe(points, size)
        here = transform(matrix, points)
        crop = cut(image, matrix, size)
        straight, mirrored = self.detector.detect(torch.stack([crop, crop.flip(2)]), (size,))
        found = [_nearest(straight.points, here), _nearest(_mirror_points(mirrored.points), here)]
        kept = [again for again in found if again is not None]
        if not kept:
            return points
        return transform(invert(matrix), torch.stack(kept).mean(0))


def _mirror_points(points: Float[Tensor, "N 5 2"]) -> Float[Tensor, "N 5 2"]:
    """Return the points of faces in the mirror of an image of `REFINEMENT_SIZE`."""
    x, y = points.unbind(2)
    return torch.stack([REFINEMENT_SIZE - 1 - x, y], 2)[:, [1, 0, 2, 4, 3]]


def _nearest(faces: Float[Tensor, "N 5 2"], points: Float[Tensor, "5 2"]) -> Tensor | None:
    """Return the face at some points; None where there is none, or only other people's."""
    if not len(faces):
        return None
    distances = (faces - points).norm(dim=2).mean(1)
    nearest = distances.argmin()
    return faces[nearest] if distances[nearest] < REFINEMENT_SIZE / 10 else None


def no_face(name: str, detector: FaceDetector, count: int = 1) -> str:
    """Return the line that says that no face was found in `name`, the first of `count`."""
    others = f" (nor in {count - 1} others)" if count > 1 else ""
    return (
        f"{name!r}: no face found{others} by SCRFD {detector.weights.label} above score "
        f"{detector.threshold}; expected a photograph of a face"
    )
