"""How well a StyleGAN2 keeps view and content apart, and its FID to rendered pictures.

    python tools/measure_view_teacher.py OUT.json --teacher cars-teacher-64 [--data cars]
        [--views 24] [--contents 24] [--samples 2000] [--sheet OUT.png]

For teachers of what is seen from all round (presets `cars-64`, `heads-360-64` of `stylegan2`).
Stylecodes of V views in the style inputs that read the view, of C contents in the others. A small
pose network, trained on renderings of the train split, reads the azimuth of each picture:

- spread over content: of one view code, how far the azimuths of the C pictures are from their
  (circular) mean, in degrees; mean over view codes.
- off the azimuth asked for: that of the latent that the view code was made of.

Both beside the same of true renderings of these latents, which is what the pose network cannot do
better; the spread also where each picture has a view of its own, which knows no view code; and the
network's error on renderings of the val split, which show other looks. FID of N samples, beside
that of N renderings of the val split, both against N of the train split.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from oracle_ladder import known_mean
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.utils import make_grid

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.datamodules.base import Split, open_data
from gan3d_bench.datamodules.rendered import RenderedDataModule
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2.generator import normalize_latent
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.machine import environment
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS, Subjects
from gan3d_bench.metrics.fid import collect_features, compare_features
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.pictures.grids import save_png

BATCH = 32
READ = 512  # val renderings that the pose network is tried on
ON_SHEET = (8, 5)  # view codes and contents of the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", default="cars-teacher-64", help="name or folder")
    parser.add_argument("--data", default="cars", choices=SUBJECTS)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--contents", type=int, default=24)
    parser.add_argument("--samples", type=int, default=2000, help="for FID; 0: none")
    parser.add_argument("--pose-steps", type=int, default=800, help="of the pose network, by 64")
    parser.add_argument("--sheet", type=Path, help="picture: a view code a column")
    options = parser.parse_args()
    generator, subjects = load_teacher(options.teacher).generator, SUBJECTS[options.data]
    size = generator.image_size
    counts: dict[Split, int] = {
        "train": max(64 * options.pose_steps // 4, options.samples, 1),
        "val": max(READ, options.samples),
    }
    data = open_data(options.data, "", size, counts=counts, seed=0)
    assert isinstance(data, RenderedDataModule)
    for split in counts:
        data.prepare(split)
    pose = PoseNetwork(data, options.pose_steps)
    latents = pairs(subjects, options.views, options.contents)
    values = measured(generator, subjects, pose, latents, options.views)
    values["pose network, val split"] = pose.errors(data)
    means = {key: known_mean(each.tolist()) for key, each in values.items()}
    for key, x in means.items():
        print(f"{key} (deg) {x['mean']:.2f} \u00b1 {x['error']:.2f} (N {x['count']})")
    fid = distances(generator, data, options.samples) if options.samples else {}
    for key, value in fid.items():
        print(f"{key} {value:.2f} (N {options.samples})")
    if options.sheet:
        columns, rows = ON_SHEET
        shown = latents.unflatten(0, (options.views, -1))[:columns, :rows].transpose(0, 1)
        save_sheet(made(generator, subjects, shown.flatten(0, 1)), columns, options.sheet)
    asked = {name: getattr(options, name) for name in ("teacher", "views", "contents", "samples")}
    write_json(options.out, {
        "commit": environment.commit(), "machine": environment.machine(), "data": options.data,
        **asked, "pose_steps": options.pose_steps, "means": means, "fid": fid,
        "values": {key: [round(x, 3) for x in each.tolist()] for key, each in values.items()},
    })  # fmt: skip


def pairs(subjects: Subjects, views: int, contents: int) -> Tensor:
    """Normalised latents (V * C, D): each view's with each content, contents fastest."""
    draw = sample_z(views + contents, subjects.num_latents, torch.Generator().manual_seed(1))
    view = draw[:views].repeat_interleave(contents, 0)
    latents = draw[views:].repeat(views, 1)
    latents[:, subjects.view] = view[:, subjects.view]
    return normalize_latent(latents)


@torch.no_grad()
def made(generator: Generator, subjects: Subjects, latents: Tensor) -> Tensor:
    """The generator's pictures (B, 3, S, S) of latents (B, D).

    View and content go into inputs of their own, each beside another's in the place of the other,
    as in the warm start (`StyleGAN2`, regression.view_entries).
    """
    parts = []
    inside = torch.zeros(latents.shape[1], dtype=torch.bool)
    inside[subjects.view] = True
    for z in latents.split(BATCH):
        view, content = (generator.mapping(torch.where(mine, z, torch.roll(z, 1, 0)))
                         for mine in (inside, ~inside))  # fmt: skip
        codes = mix_styles(view, content, VIEW_ROWS, generator.num_ws)
        parts.append(generator.synthesis(codes).float().clamp(-1, 1).cpu())
    return torch.cat(parts)


def measured(
    generator: Generator, subjects: Subjects, pose: PoseNetwork, latents: Tensor, views: int
) -> dict[str, Tensor]:
    """Degrees by key: of each view code, of each picture."""
    shown = subjects.sample(latents)
    true = torch.cat([
        subjects.render(subjects.sample(z), generator.image_size)["image"]
        for z in latents.split(BATCH)
    ])  # fmt: skip
    values = {}
    for name, images in (("teacher", made(generator, subjects, latents)), ("renderings", true)):
        read = pose.read(images)
        values[f"{name}, spread over content"] = spread(read.unflatten(0, (views, -1)))
        values[f"{name}, off the azimuth asked for"] = apart(read, shown.azimuth)
        if name == "teacher":  # contents lie fastest, so columns have each view once
            mixed = read.unflatten(0, (views, -1)).T
            values["teacher, spread over views"] = spread(mixed)
    return values


def apart(a: Tensor, b: Tensor) -> Tensor:
    """How far angles are from each other, in [0, 180] degrees."""
    return ((a - b + 180) % 360 - 180).abs()


def spread(angles: Tensor) -> Tensor:
    """Mean distance (V,) of angles (V, C) in degrees from the circular mean of their row."""
    radians = torch.deg2rad(angles)
    mean = torch.rad2deg(torch.atan2(radians.sin().mean(1), radians.cos().mean(1)))
    return apart(angles, mean[:, None]).mean(1)


class PoseNetwork:
    """Reads the azimuth of pictures; trained on the first of a data module's train split.

    Args:
        data: prepared; its items have ``image`` and ``azimuth``.
        steps: of Adam, 64 pictures each.
    """

    def __init__(self, data: RenderedDataModule, steps: int) -> None:
        torch.manual_seed(0)
        self.network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2)
        # the azimuth's side is told apart by where things lie
        self.network.avgpool = nn.AdaptiveAvgPool2d(2)
        self.network.fc = nn.Linear(512 * 4, 2)
        items, rng = data.dataset("train"), torch.Generator().manual_seed(0)
        optimizer = torch.optim.AdamW(self.network.parameters(), 2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(items), (64,), generator=rng).tolist()
            images, azimuth = stacked([items[index] for index in chosen])
            loss = F.mse_loss(self.network(images), direction(azimuth))
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

    def errors(self, data: RenderedDataModule, count: int = READ) -> Tensor:
        """Errors (count,) in degrees on the first items of the val split."""
        items = data.dataset("val")
        images, azimuth = stacked([items[index] for index in range(count)])
        return apart(self.read(images), azimuth)


def direction(azimuth: Tensor) -> Tensor:
    """Cosine and sine (B, 2) of degrees (B,)."""
    radians = torch.deg2rad(azimuth)
    return torch.stack((radians.cos(), radians.sin()), 1)


def stacked(items: list) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) and azimuths (B,) of items."""
    return torch.stack([x["image"] for x in items]), torch.stack([x["azimuth"] for x in items])


def distances(generator: Generator, data: RenderedDataModule, count: int) -> dict[str, float]:
    """FID of samples and of val renderings against train renderings, `count` each."""
    fetch("inception-fid")
    network = InceptionFeatures()

    def rendered(split: Split) -> Iterator[Tensor]:
        items = data.dataset(split)
        for start in range(0, count, BATCH):
            chosen = range(start, min(start + BATCH, count))
            yield torch.stack([items[index]["image"] for index in chosen])

    z = sample_z(count, generator.z_dim, torch.Generator().manual_seed(2))
    with torch.no_grad():
        samples = (generator(part).float().clamp(-1, 1) for part in z.split(BATCH))
        real, val, fake = (
            collect_features(stream, count, network)
            for stream in (rendered("train"), rendered("val"), samples)
        )
    return {
        "FID": compare_features(fake, real, network).fid,
        "FID, val split": compare_features(val, real, network).fid,
    }


def save_sheet(images: Tensor, columns: int, path: Path) -> None:
    """Write pictures (N, 3, S, S) in [-1, 1] side by side, row after row, at twice their size."""
    large = F.interpolate((images + 1) / 2, scale_factor=2.0, mode="nearest")
    grid = make_grid(large, columns, padding=2)
    save_png(Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()), path)


if __name__ == "__main__":
    main()
