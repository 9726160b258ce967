"""What a StyleGAN2 of what is seen from all round holds of views and contents, and its FID.

    python tools/measure_view_teacher.py OUT.json [--teacher cars-teacher-64] [--data cars]
        [--views 24] [--contents 24] [--samples 2000] [--sheet OUT.png]

Of teachers that presets `cars-64` and `heads-360-64` of `stylegan2` make: numbered view codes with
numbered content codes, as `stylegan-r` takes them, beside true renderings of their latents.

- azimuth, read by a small pose network that is trained on renderings of the train split: the
  spread of a view code's over contents, the mean distance from their circular mean in degrees;
  how far it is from the latent's; and the spread of a content's over views, which is what a
  generator without view codes has. Renderings' own figures and the network's error on the val
  split, which shows other looks, are what could be had.
- content: PSNR over the object's true pixels of the own picture, of another content's at the same
  view in its place, and of the mean of the others' true renderings there, which knows the view
  alone; and what the own one is ahead by.
- silhouette: IoU with the latents' true one of what stands before the picture's smooth background
  (`masks=background`); of the renderings, and of another content's true silhouette, the same.

FID of N samples against N renderings of the train split, beside that of N of the val split.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from oracle_ladder import known_mean
from PIL import Image
from teacher_fid import collected, generated
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.utils import make_grid

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.datamodules.base import Split, open_data
from gan3d_bench.datamodules.rendered import RenderedDataModule
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.machine import environment
from gan3d_bench.methods.stylegan_r.masks import SmoothBackground
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS, shown_by
from gan3d_bench.methods.stylegan_r.views import content_stylecodes, view_stylecodes
from gan3d_bench.metrics.fid import compare_features
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.pictures.grids import save_png
from gan3d_bench.rendering.images import from_uint8, to_uint8

BATCH = 32
READ = 512  # val renderings that the pose network is tried on
POSES = 12800  # train renderings that it learns from
POSE_BATCH = 64
ON_SHEET = (8, 5)  # view codes and contents of the picture
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", default="cars-teacher-64", help="name or folder")
    parser.add_argument("--data", default="cars", choices=SUBJECTS)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--contents", type=int, default=24)
    parser.add_argument("--samples", type=int, default=2000, help="for FID; 0: none")
    parser.add_argument("--pose-steps", type=int, default=800, help="of the pose network")
    parser.add_argument("--sheet", type=Path, help="picture: a view code a column")
    options = parser.parse_args()
    generator = load_teacher(options.teacher).generator
    counts: dict[Split, int] = {
        "train": max(min(POSES, POSE_BATCH * options.pose_steps), options.samples),
        "val": max(READ, options.samples),
    }
    data = open_data(options.data, "", generator.image_size, counts=counts, seed=SEED)
    assert isinstance(data, RenderedDataModule)
    for split in counts:
        data.prepare(split)
    pose = PoseNetwork(data, options.pose_steps)
    shape = options.views, options.contents
    made = pictures(generator, *shape)
    true, mask, azimuth = truth(options.data, generator, *shape)
    values = {
        **angles(pose, made, true, azimuth),
        "azimuth, pose network on the val split": pose.errors(data),
        **contents(made, true, mask),
        **silhouettes(made, true, mask),
    }
    means = {key: known_mean(each.flatten().tolist()) for key, each in values.items()}
    for key, x in means.items():
        print(f"{key} {x['mean']:.3f} \u00b1 {x['error']:.3f} (N {x['count']})")
    fid = distances(generator, data, options.samples) if options.samples else {}
    for key, value in fid.items():
        print(f"{key} {value:.2f} (N {options.samples})")
    if options.sheet:
        columns, rows = ON_SHEET
        save_sheet(made[:columns, :rows].transpose(0, 1), options.sheet)
    asked = {
        name: getattr(options, name)
        for name in ("teacher", "data", "views", "contents", "samples", "pose_steps")
    }
    write_json(options.out, {
        "commit": environment.commit(), "machine": environment.machine(), "seed": SEED,
        **asked, "means": means, "fid": fid,
        "values": {key: [round(x, 3) for x in v.flatten().tolist()] for key, v in values.items()},
    })  # fmt: skip


def numbers(views: int, contents: int) -> tuple[list[int], list[int]]:
    """Numbers of the view and of the content code of each of V * C pictures, contents fastest."""
    return [v for v in range(views) for _ in range(contents)], list(range(contents)) * views


@torch.no_grad()
def pictures(generator: Generator, views: int, contents: int) -> Tensor:
    """The teacher's pictures (V, C, 3, S, S) of view codes with content codes, as 8 bits hold."""
    view = view_stylecodes(generator, range(views), 1.0).repeat_interleave(contents, 0)
    content = content_stylecodes(generator, range(contents), 1.0).repeat(views, 1)
    codes = mix_styles(view, content, VIEW_ROWS, generator.num_ws)
    parts = [to_uint8(generator.synthesis(w).float()) for w in codes.split(BATCH)]
    return from_uint8(torch.cat(parts)).unflatten(0, (views, contents))


def truth(name: str, generator: Generator, views: int, contents: int) -> tuple[Tensor, ...]:
    """Renderings (V, C, 3, S, S) of the codes' latents, masks (V, C, 1, S, S), azimuths (V, C)."""
    numbered, size = numbers(views, contents), generator.image_size
    found: list[list[Tensor]] = [[], [], []]
    for start in range(0, views * contents, BATCH):
        shown = shown_by(name, generator, *(n[start : start + BATCH] for n in numbered))
        maps = SUBJECTS[name].render(shown, size)
        for parts, part in zip(found, (maps["image"], maps["mask"], shown.azimuth), strict=True):
            parts.append(part)
    return tuple(torch.cat(parts).unflatten(0, (views, contents)) for parts in found)


# -- azimuth --------------------------------------------------------------------------------------


def angles(pose: PoseNetwork, made: Tensor, true: Tensor, azimuth: Tensor) -> dict[str, Tensor]:
    """Degrees by key: of each view code or content, or of each picture."""
    values = {}
    for name, images in (("teacher", made), ("renderings", true)):
        read = pose.read(images.flatten(0, 1)).view_as(azimuth)
        values[f"azimuth, {name}, spread over contents"] = spread(read)
        values[f"azimuth, {name}, spread over views"] = spread(read.T)
        values[f"azimuth, {name}, off the latent's"] = apart(read, azimuth)
    return values


def apart(a: Tensor, b: Tensor) -> Tensor:
    """How far angles are from each other, in [0, 180] degrees."""
    return ((a - b + 180) % 360 - 180).abs()


def spread(degrees: Tensor) -> Tensor:
    """Mean distance (V,) of angles (V, C) from the circular mean of their row."""
    radians = torch.deg2rad(degrees)
    mean = torch.rad2deg(torch.atan2(radians.sin().mean(1), radians.cos().mean(1)))
    return apart(degrees, mean[:, None]).mean(1)


class PoseNetwork:
    """Reads the azimuth of pictures; trained on a data module's train split.

    Args:
        data: prepared; its items have ``image`` and ``azimuth``.
        steps: of AdamW, `POSE_BATCH` pictures each.
    """

    def __init__(self, data: RenderedDataModule, steps: int) -> None:
        torch.manual_seed(SEED)
        self.network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)
        # where things lie tells the azimuth's side
        self.network.avgpool = nn.AdaptiveAvgPool2d(2)
        self.network.fc = nn.Linear(512 * 4, 2)
        items, rng = data.dataset("train"), torch.Generator().manual_seed(SEED)
        optimizer = torch.optim.AdamW(self.network.parameters(), 2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(items), (POSE_BATCH,), generator=rng).tolist()
            images, azimuth = stacked([items[index] for index in chosen])
            radians = torch.deg2rad(azimuth)
            target = torch.stack((radians.cos(), radians.sin()), 1)
            loss = F.mse_loss(self.network(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.network.eval()

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Azimuths (B,) in degrees of pictures (B, 3, S, S) in [-1, 1]."""
        x, y = torch.cat([self.network(part) for part in images.split(BATCH)]).unbind(1)
        return torch.rad2deg(torch.atan2(y, x)) % 360

    def errors(self, data: RenderedDataModule) -> Tensor:
        """Errors (READ,) in degrees on the first items of the val split."""
        items = data.dataset("val")
        images, azimuth = stacked([items[index] for index in range(READ)])
        return apart(self.read(images), azimuth)


def stacked(items: list) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) and azimuths (B,) of items."""
    return torch.stack([x["image"] for x in items]), torch.stack([x["azimuth"] for x in items])


# -- content --------------------------------------------------------------------------------------


def contents(made: Tensor, true: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """PSNR (V * C,) by key over the object's true pixels; pictures as `truth` gives them."""
    others = (true.sum(1, keepdim=True) - true) / (true.shape[1] - 1)
    flat = true.flatten(0, 1), mask.flatten(0, 1)
    found = {
        name: psnr(shown.flatten(0, 1), *flat)
        for name, shown in {
            "own": made, "another content's": made.roll(1, 1), "mean of others' renderings": others,
        }.items()
    }  # fmt: skip
    own, *rest = found
    ahead = {f"PSNR, own ahead of {name}": found[own] - found[name] for name in rest}
    return {f"PSNR, {name}": value for name, value in found.items()} | ahead


def silhouettes(made: Tensor, true: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """IoU (V * C,) by key with the true silhouette."""
    find, inside = SmoothBackground(), mask.flatten(0, 1)
    found = {
        "teacher": find(made.flatten(0, 1)).mask,
        "renderings": find(true.flatten(0, 1)).mask,
        "another content's true one": mask.roll(1, 1).flatten(0, 1),
    }
    iou = MaskIoU().instances
    return {f"silhouette IoU, {name}": iou(x, inside) for name, x in found.items()}


# -- sets and the picture --------------------------------------------------------------------------


def distances(generator: Generator, data: RenderedDataModule, count: int) -> dict[str, float]:
    """FID of samples and of val renderings against train renderings, `count` each."""
    fetch("inception-fid")
    network = InceptionFeatures()

    def rendered(split: Split) -> Iterator[Tensor]:
        items = data.dataset(split)
        for start in range(0, count, BATCH):
            chosen = range(start, min(start + BATCH, count))
            yield stacked([items[index] for index in chosen])[0]

    real, val, fake = (
        collected(name, stream, count, network)
        for name, stream in (
            ("train split", rendered("train")),
            ("val split", rendered("val")),
            ("samples", generated(generator, count, BATCH, SEED, 1.0)),
        )
    )
    return {
        "FID": compare_features(fake, real, network).fid,
        "FID, val split": compare_features(val, real, network).fid,
    }


def save_sheet(images: Tensor, path: Path) -> None:
    """Write pictures (rows, columns, 3, S, S) in [-1, 1], at twice their size."""
    large = F.interpolate((images.flatten(0, 1) + 1) / 2, scale_factor=2.0, mode="nearest")
    grid = make_grid(large, images.shape[1], padding=2)
    save_png(Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()), path)


if __name__ == "__main__":
    main()
