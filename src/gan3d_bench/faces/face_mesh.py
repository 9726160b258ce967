"""MediaPipe's networks for faces: BlazeFace, which finds them, and the mesh of 468 points.

Bazarevsky et al. 2019, Kartynnik et al. 2019; the files and their use are those of
google-ai-edge/mediapipe (modules/face_detection, modules/face_landmark), Apache-2.0. The networks
run in LiteRT on the CPU; mediapipe itself is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import box_iou

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError
from gan3d_bench.faces.alignment import warp
from gan3d_bench.machine.optional_packages import require_litert
from gan3d_bench.rendering.images import resize

ASSET = "face-mesh-468"
DETECTOR, MESH = "face_detection_short_range.tflite", "face_landmark.tflite"
DETECTOR_SIZE, MESH_SIZE, POINTS = 128, 192, 468
ANCHORS = ((8, 2), (16, 6))  # stride, and boxes a cell (its three layers of stride 16 as one)
CERTAIN = 0.5  # least probability of a face
SAME = 0.3  # intersection over union of boxes that are of one face
EYES = (33, 263)  # outer corners among the 468, image-left first
MARGIN = 1.5  # the mesh's network sees a square as large as the face, times this


class LiteRTNetwork:
    """A ``.tflite`` file on the CPU, in one thread of its own; any batch size.

    Raises:
        UserError: the asset is missing or damaged, or LiteRT is.
    """

    def __init__(self, file: str) -> None:
        path = asset_path(ASSET) / file
        require_litert(f"landmarks={ASSET}")
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]

        self.path: Path = path
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path} cannot be read by LiteRT: {error}") from error
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def __call__(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        """The outputs (B, ...) in the file's order, on the CPU."""
        values = images.movedim(1, -1).contiguous().cpu().numpy().astype(np.float32)
        # one by one: its kernels for batches are no faster, and results do not depend on the batch
        rows = []
        for value in values:
            self._interpreter.set_tensor(self._input["index"], value[None])
            self._interpreter.invoke()
            rows.append(
                [torch.from_numpy(self._interpreter.get_tensor(o["index"])) for o in self._outputs]
            )
        return [torch.cat(column) for column in zip(*rows, strict=True)]


class FaceMeshDetector:
    """BlazeFace, short range: the largest face of each image, as a turned square around it."""

    def __init__(self) -> None:
        self.network = LiteRTNetwork(DETECTOR)
        self.anchors = torch.cat([_cells(stride).repeat_interleave(n, 0) for stride, n in ANCHORS])

    def __call__(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B 3 2"], Bool[Tensor, " B"]]:
        """Return frames in pixels of the images, see `frame_of`, and where a face is.

        Args:
            images: RGB in [-1, 1].
        """
        side = max(images.shape[-2:])
        pad = side - images.shape[-1], side - images.shape[-2]
        square = torch.nn.functional.pad(images.float(), (0, pad[0], 0, pad[1]), value=-1.0)
        boxes, logits = self.network(resize(square, DETECTOR_SIZE))
        found = [
            self._largest(box, score.sigmoid()[:, 0])
            for box, score in zip(boxes, logits, strict=True)
        ]
        known = torch.tensor([frame is not None for frame in found], device=images.device)
        nowhere = images.new_full((3, 2), torch.nan, dtype=torch.float32)
        frames = [nowhere if frame is None else frame.to(images.device) for frame in found]
        scaled = torch.stack(frames) * (side / DETECTOR_SIZE)
        scaled[:, 0] -= 0.5  # pixels of images are counted from the first one's centre
        return scaled, known

    def _largest(self, raw: Float[Tensor, "A 16"], score: Float[Tensor, " A"]) -> Tensor | None:
        """The frame of the largest face, pixels of the network's input from its corner."""
        sure = score > CERTAIN
        if not sure.any():
            return None
        score = score[sure]
        # centre, size, then six points: centres of the eyes first
        values = raw[sure].view(-1, 8, 2).clone()
        values[:, [0, 2, 3, 4, 5, 6, 7]] += self.anchors[sure, None]
        low, high = values[:, 0] - values[:, 1] / 2, values[:, 0] + values[:, 1] / 2
        size = values[:, 1].prod(1)
        # faces that overlap are one, seen several times: their mean is steadier than the best
        best = (size * (score > 0.8 * score.max())).argmax()
        corners = torch.cat((low, high), 1)
        same = box_iou(corners, corners[best, None])[:, 0] > SAME
        weight = (score * same)[:, None, None]
        centre, size, left, right = ((weight * values).sum(0) / weight.sum())[:4]
        return frame_of(centre, size.max(), right - left)


class FaceMesh:
    """The points of faces."""

    def __init__(self) -> None:
        self.network = LiteRTNetwork(MESH)

    def __call__(
        self, images: Float[Tensor, "N 3 H W"], frames: Float[Tensor, "N 3 2"]
    ) -> tuple[Float[Tensor, "N 468 2"], Bool[Tensor, " N"]]:
        """Return points (x, y) in pixels of the images, and where there is a face.

        Args:
            images: RGB in [-1, 1].
            frames: see `frame_of`. A second look is taken at where the first one finds the face.
        """
        points, present = self._look(images, frames)
        low, high = points.amin(1), points.amax(1)
        eyes = points[:, EYES[1]] - points[:, EYES[0]]
        frames = frame_of((low + high) / 2, (high - low).amax(1), eyes)
        return self._look(images, frames)[0], present

    def _look(self, images: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        matrices = _to_frame(frames, MESH_SIZE)
        crops = warp(images, matrices, MESH_SIZE) / 2 + 0.5
        found, presence = self.network(crops)
        points = found.view(len(images), POINTS, 3)[..., :2].to(images.device) - 0.5
        linear, shift = matrices[..., :2], matrices[..., 2]
        points = torch.linalg.solve(linear, (points - shift[:, None]).mT).mT
        return points, presence.flatten().sigmoid().to(images.device) > CERTAIN


def frame_of(
    centre: Float[Tensor, "*B 2"], size: Float[Tensor, "*B"], across: Float[Tensor, "*B 2"]
) -> Float[Tensor, "*B 3 2"]:
    """A turned square around a face: its centre, and half its sides to the right and down.

    Args:
        centre, size: of the face, which the square exceeds by `MARGIN`.
        across: from its image-left to its image-right eye.
    """
    half = MARGIN / 2 * size[..., None] * torch.nn.functional.normalize(across, dim=-1)
    down = torch.stack((-half[..., 1], half[..., 0]), -1)
    return torch.stack((centre, half, down), -2)


def _to_frame(frames: Float[Tensor, "N 3 2"], size: int) -> Float[Tensor, "N 2 3"]:
    """Matrices from pixels of images to those of the frames' pictures."""
    axes = frames[:, 1:]
    linear = axes * (size / 2) / axes.square().sum(2, keepdim=True)
    middle = frames.new_full((2,), (size - 1) / 2)
    shift = middle - (linear @ frames[:, 0, :, None]).squeeze(2)
    return torch.cat((linear, shift[..., None]), 2)


def _cells(stride: int) -> Float[Tensor, "C 2"]:
    """Centres (x, y) of a layer's cells, row by row, pixels from the corner."""
    line = (torch.arange(DETECTOR_SIZE // stride) + 0.5) * stride
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((x, y), -1).view(-1, 2)
