"""Pose and shape of a morphable model from landmarks: Gauss-Newton on the posterior, in batches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacfwd, vmap

from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.landmark_correspondences import CENTRE, LandmarkCorrespondences
from gan3d_bench.geometry.views import View

POSE = 6
"""Yaw, pitch and roll in radians, shift in x and y in scene units, logarithm of the scale."""
STARTS = (-35.0, 0.0, 35.0)  # yaw in degrees
RIGID_STEPS = 3
LARGEST_STEP = 0.4  # radians, or in the logarithm of the scale
LARGEST_ANGLE = math.radians(82)  # of yaw and pitch
INDEPENDENT = 106
"""Landmarks that tell of a face each for itself: of more, errors of neighbours are alike."""
OUTLIER = 3.0  # standard deviations from which errors count less and less


class LandmarkFit:
    """Explains landmarks by a pose and by shape weights: a state (B, 6 + K), see `POSE`.

    Landmarks are given in the plane at depth 1: pixels less the principal point, by the focal
    length.

    Args:
        space: whole, as the map was found with.
        landmarks: where the landmarks are on it.
        looseness: landmarks deviate by that much more than the map says; more than `INDEPENDENT`
            count as so many.
        device: where to compute.
        scale_deviation: of the logarithm of the scale, of faces whose size is known.
    """

    def __init__(
        self,
        space: FaceModel,
        landmarks: LandmarkCorrespondences,
        looseness: float,
        device: torch.device | str = "cpu",
        scale_deviation: float = math.inf,
    ) -> None:
        self.scale_precision = scale_deviation**-2
        self.map = landmarks.to(device)
        repeated = max(1.0, landmarks.vertex.shape[1] / INDEPENDENT)
        self.deviation = looseness * repeated**0.5 * self.map.deviation
        # (S, L, 3) and (S, L, K, 3): all of the model that counts here
        self.points = (space.mean[landmarks.vertex] + landmarks.offset).to(device)
        self.directions = space.shape_basis[:, landmarks.vertex].permute(1, 2, 0, 3).to(device)

    @torch.no_grad()
    def __call__(self, plane: Float[Tensor, "B L 2"], iterations: int) -> Float[Tensor, "B N"]:
        """Return the likeliest state, from the best of several starts."""
        tries = len(STARTS)
        plane = plane.repeat_interleave(tries, 0)
        state = self._start(plane)
        for step in range(iterations):
            # with a free shape, a wrong start would bend the face rather than turn it
            state = self._step(state, plane, rigid=step < RIGID_STEPS)
        cost = self.cost(state, plane).view(-1, tries)
        best = cost.argmin(1) + tries * torch.arange(len(cost), device=cost.device)
        return state[best]

    def errors(self, state: Tensor, plane: Tensor) -> Float[Tensor, "B L 2"]:
        """Projected points less landmarks."""
        points, directions, _ = self._seen(state)
        return _projected(state[:, :POSE], _shaped(state, points, directions)) - plane

    def cost(self, state: Tensor, plane: Tensor) -> Float[Tensor, " B"]:
        """Minus the logarithm of the posterior, but for a constant; differentiable."""
        points, directions, unit = self._seen(state)
        seen = _projected(state[:, :POSE], _shaped(state, points, directions))
        error = (seen - plane) / unit[..., None]
        prior = state[:, POSE:].square().sum(1) + self.scale_precision * state[:, 5].square()
        return robust(error.square().sum(2)).sum(1) + prior / 2

    def _seen(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means (B, L, 3), directions (B, L, K, 3) and deviations (B, L) from there.

        Deviations are in the plane's units; without gradient to the state.
        """
        pose = state[:, :POSE].detach()
        sides = [
            [weight.view(-1, *[1] * (table.ndim - 1)) * table[side] for side, weight in between]
            for between in [list(self.map.at(pose[:, 0].rad2deg()))]
            for table in (self.points, self.directions, self.deviation)
        ]
        points, directions, deviation = (low + high for low, high in sides)
        return points, directions, deviation * pose[:, 5:].exp()

    def _start(self, plane: Tensor) -> Tensor:
        """Faces of the landmarks' place and size, one for each of `STARTS` in turn."""
        state = plane.new_zeros(len(plane), POSE + self.directions.shape[2])
        yaw = plane.new_tensor(STARTS).deg2rad()
        state[:, 0] = yaw.repeat(len(plane) // len(STARTS))
        state[:, 3:5] = plane.mean(1)
        size, usual = (
            (each - each.mean(-2, keepdim=True)).square().sum((-2, -1)).sqrt()
            for each in (plane, self.points[len(self.points) // 2, :, :2])
        )
        state[:, 5] = (size / usual).log()
        return state

    def _step(self, state: Tensor, plane: Tensor, rigid: bool) -> Tensor:
        """One step of Gauss-Newton, outliers weighing less; `rigid` leaves the shape as it is."""
        points, directions, unit = self._seen(state)
        unit = unit[..., None]
        seen, slope = projection_slope(state, points, directions, rigid)
        free = slope.shape[-1]
        error = (seen - plane) / unit
        weight = robust_weight(error.square().sum(2))
        slope = (slope / unit[..., None]).flatten(1, 2)
        weighted = slope * weight.repeat_interleave(2, 1)[..., None]
        prior = state.new_ones(free)
        prior[:POSE] = 0.0
        prior[5] = self.scale_precision
        damping = 1e-3 * torch.eye(free, device=state.device)
        normal = weighted.mT @ slope + prior.diag() + damping
        downhill = (weighted.mT @ error.flatten(1)[..., None]).squeeze(2) + prior * state[:, :free]
        step = torch.linalg.solve(normal, downhill)
        step[:, :POSE] = step[:, :POSE].clamp(-LARGEST_STEP, LARGEST_STEP)
        moved = state.clone()
        moved[:, :free] -= step
        moved[:, :2] = moved[:, :2].clamp(-LARGEST_ANGLE, LARGEST_ANGLE)
        return moved


def robust(square: Tensor) -> Tensor:
    """Half of squared errors in standard deviations, bounded: Geman and McClure's function."""
    return square / (2 * (1 + square / OUTLIER**2))


def robust_weight(square: Tensor) -> Tensor:
    """What errors weigh in the next step: twice the slope of `robust`."""
    return 1 / (1 + square / OUTLIER**2).square()


def pose_view(pose: Float[Tensor, "B 6"]) -> View:
    """The views of poses; see `POSE`."""
    yaw, pitch, roll = pose[:, :3].rad2deg().unbind(1)
    return View(yaw, pitch, roll, torch.cat((pose[:, 3:5], torch.zeros_like(pose[:, :1])), 1))


def place(pose: Float[Tensor, "B 6"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """Points of the space in camera space."""
    scaled = points * pose[:, 5].exp()[:, None, None]
    return pose_view(pose).transform(scaled + scaled.new_tensor(CENTRE))


def projection_slope(
    state: Float[Tensor, "B N"],
    points: Float[Tensor, "B L 3"],
    directions: Float[Tensor, "B L K 3"],
    rigid: bool = False,
) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L 2 N"]]:
    """Landmarks in the plane at depth 1, and their derivatives by the state.

    Args:
        state: see `POSE`; K weights of the shape follow.
        points: at zero weights.
        directions: what the weights move.
        rigid: leave the derivatives by the weights out.
    """
    pose, shaped = state[:, :POSE], _shaped(state, points, directions)
    seen = _projected(pose, shaped)
    # (B, L, 2, 6): by the pose, which is not linear; few enough for forward differentiation
    slope = vmap(jacfwd(_projected_one))(pose, shaped)
    if not rigid:
        # by the weights: (x / z, y / z) has the slope (dx - x / z dz, dy - y / z dz) / z
        turn = pose_view(pose).rotation_matrix() * pose[:, 5].exp()[:, None, None]
        moved = directions.flatten(1, 2) @ turn.mT
        across, away = moved.view(directions.shape).mT.split((2, 1), 2)
        depth = place(pose, shaped)[..., 2, None, None]
        slope = torch.cat((slope, (across - seen[..., None] * away) / depth), 3)
    return seen, slope


def _shaped(state: Tensor, points: Tensor, directions: Tensor) -> Float[Tensor, "B L 3"]:
    return points + torch.einsum("bk,blkc->blc", state[:, POSE:], directions)


def _projected(pose: Tensor, points: Tensor) -> Float[Tensor, "B L 2"]:
    """Points (B, L, 3) of the space in the plane at depth 1."""
    placed = place(pose, points)
    return placed[..., :2] / placed[..., 2:]


def _projected_one(pose: Tensor, points: Tensor) -> Tensor:
    """The same of one face; for `vmap`."""
    return _projected(pose[None], points[None])[0]
