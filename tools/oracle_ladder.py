"""Which part of GAN2Shape loses the person: step 3 with one part after another replaced by truth.

    python tools/oracle_ladder.py OUT.json [--rungs a b c d start] [--heads 8] [--split val]
        [KEY=VALUE ...]

Every head is trained alone, from the preset's start, in float32. The rungs, from the top:

a  projected samples are true renderings of the head, at known views and in known lights
b  they are the teacher's pictures by the head's own stylecode, at the same views and lights
b-light  as b, but L says the lights, not the truth
b-free   as b, but L only says what lights begin as: each picture's are numbers that step 3 learns
b-view   as b, but views are read off the pictures, as in c
b-pose   as b, but views and lights are read off
b-code   as b, but the stylecode is the one that inversion finds, moved as the own one moves
c  E projects as always; views read off the projections take the place of V's
c-pose   as c, but lights are read off, too
d  everything as it is
start  nothing is trained: what D and V of the start say

Samples of a and b are the head's latents with other entries for view and light, so that a and b
differ in nothing but who draws them. The target's view is the true one in a, b and c. What reads
views off projections is a network taught with heads whose views are known; it errs, too. From b to
c more changes than who projects: the stylecode is found by inversion, views are read off, and
lights are L's. The rungs between them change one of these each.

Said of each rung: SIDE and MAD, at the true view and at the view that V finds, of the head's own
shape, of the mean of the rung's shapes and of the next head's shape in its place; and the
correlation of the individual part (depth less the mean over heads, and less its own mean) with the
truth's, in the canonical frame, over the pixels that all heads cover.

`KEY=VALUE` are keys of the run. OUT holds a row for every rung and set of keys; the shape that a
head's training ends with lies beside it (`OUT.parts`), so that a ladder that was stopped goes on
where it was, or says with fewer `--heads` what it has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan3d_bench.benchmarks.heads import head_stylecodes
from gan3d_bench.config import compose, to_yaml
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import (
    FAR,
    FIELD_OF_VIEW,
    LAYOUT,
    NUM_LATENTS,
    render_heads,
    sample_heads,
)
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.machine import environment
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.factors import (
    DEPTH_RANGE,
    ROTATION_RANGE,
    TRANSLATION_RANGE,
    Factors,
    light_to_raw,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.methods.gan2shape.model import CHUNK
from gan3d_bench.methods.gan2shape.networks import InstanceNetwork, Regressor
from gan3d_bench.methods.gan2shape.projection import PseudoSamples
from gan3d_bench.methods.gan2shape.subject_mask import subject_mask
from gan3d_bench.methods.gan2shape.teacher import FrozenTeacher
from gan3d_bench.metrics.depth import MAD, RELEASED_NORMAL_EPSILON, SIDE
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.depth_map import DepthMapScene

RUNGS = {
    "a": "true renderings, known views and lights",
    "b": "the teacher's pictures by the head's own stylecode, known views and lights",
    "b-light": "as b, lights are L's",
    "b-free": "as b, lights begin as L's and are free",
    "b-view": "as b, views are read off",
    "b-pose": "as b, views and lights are read off",
    "b-code": "as b, by the stylecode that inversion finds",
    "c": "E's projections, views read off them",
    "c-pose": "as c, lights are read off, too",
    "d": "everything as it is",
    "start": "nothing trained",
}
GIVEN = ("a", "b", "b-light", "b-free", "b-view", "b-pose", "b-code")
"""Rungs on which E has nothing to do."""
LEAST_FRONT = -0.3  # z of known lights, which slopes cannot say of lights from behind
READER_HEADS, READER_STEPS, READER_BATCH, READER_RATE = 4096, 500, 32, 1e-3


class KnownPoses(nn.Module):
    """V or L of one instance, overruled once the poses of its images are known.

    Args:
        network: the real one.
        mean: what the run adds to its output (n,).
    """

    def __init__(self, network: InstanceNetwork, mean: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mean = (mean,)  # belongs to the run
        self.known: tuple[Tensor, Tensor] | None = None

    def know(self, images: Tensor, raw: Tensor) -> None:
        """The poses of images (N, 3, S, S), the only ones asked for from now on: raw (N, n)."""
        self.known = images.flatten(1), raw

    def free(self, images: Tensor, raw: Tensor) -> None:
        """Let the poses of images (N, 3, S, S) be numbers that are learnt, from raw (N, n)."""
        self.learnt = nn.Parameter(raw)
        self.know(images, self.learnt)

    def forward(self, images: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """(B, 3, S, S) to (B, n), without the mean."""
        if self.known is None:
            return self.network(images, slots)
        row = torch.cdist(images.flatten(1), self.known[0]).argmin(1)
        return self.known[1][row] - self.mean[0]

    def load_each(self, state: Mapping[str, Tensor]) -> None:
        """See `InstanceNetwork.load_each`."""
        self.network.load_each(state)


class Climb(GAN2Shape):
    """A run of one head on a rung, trained in a plain loop.

    Args:
        config: of one instance of the heads.
        rung: of `RUNGS`.
    """

    def __init__(self, config: GAN2ShapeConfig, rung: str) -> None:
        super().__init__(config)
        self.rung = rung
        self.on_fit_start()
        self.latent = head_latents(config.split, [config.first])  # type: ignore[arg-type]
        self.head = sample_heads(self.latent)
        networks = self.networks
        self.view_net = KnownPoses(networks.view_net, networks.view_mean)
        self.light_net = KnownPoses(networks.light_net, networks.light_mean)
        networks.view_net, networks.light_net = self.view_net, self.light_net  # type: ignore[assignment]
        if rung != "d":
            self.view_net.know(self.images.targets, raw_view(self.head.view))

    def train_all(self) -> None:
        """All phases but those whose outcome the rung knows."""
        if self.rung == "start":
            self.networks.reset()
            self._store(self.groups[0])
            return
        given = self.rung in GIVEN
        idle = ("step 2",) if self.rung == "b-code" else ("inversion", "step 2")
        while not self.finished:
            phase = self.phase
            if not (given and phase.name.endswith(idle)):
                with torch.no_grad():
                    if phase.begin:
                        phase.begin()
                    if phase.name.endswith("step 3") and self.rung != "d":
                        self._give() if given else self._read_poses()
                self.adams = self.configure_optimizers()
                for self.phase_step in range(phase.steps):
                    phase.step(None)
                if phase.end:
                    with torch.no_grad():
                        phase.end()
            elif phase.begin:
                phase.begin()
            self.phase_index, self.phase_step = self.phase_index + 1, 0

    def descend(self, terms: Any, name: Any = None) -> dict[str, Tensor]:
        """See `PhasedMethod.descend`."""
        for adam in self.adams:
            adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        for adam in self.adams:
            adam.step()
        return {key: value.detach() for key, value in terms.items()}

    def result(self) -> dict[str, Tensor]:
        """Canonical depth (1, 1, S, S), and the raw view (1, 6) that V finds, its mean added."""
        with torch.no_grad():
            view = self.view_net.network(self.images.targets) + self.networks.view_mean
        return {"depth": self.fitted.depth.clone(), "view": view}

    def _give(self) -> None:
        """Samples of rungs a and b..: the head in other views and lights."""
        latents = self.latent.repeat(self.config.samples_per_instance, 1)
        rng = torch.Generator().manual_seed(self.config.first)
        for part in ("view", "light"):
            entries = latents[:, LAYOUT[part]]
            entries.copy_(torch.randn(entries.shape, generator=rng))
        heads = sample_heads(latents)
        maps = render_heads(heads, self.config.image_size)
        images = maps["image"]
        if self.rung != "a":
            codes = head_stylecodes(self.teacher.generator, latents)
            if self.rung == "b-code":
                own = head_stylecodes(self.teacher.generator, self.latent)
                codes = codes + self.latents.w - own
            images = self.teacher.generated(codes)
        self.projected.put([0], 0, PseudoSamples(images, maps["mask"]))
        if self.rung in ("b-view", "b-pose"):
            self._read_poses()
        else:
            self._know_views(raw_view(heads.view))
        if self.rung in ("a", "b", "b-view", "b-code"):
            self._know_lights(raw_light(heads.light, heads.view))
        elif self.rung == "b-free":
            shown = self._shown()
            self.light_net.free(shown, self.networks.raw_light(shown, [0]))

    def _read_poses(self) -> None:
        """Views of projected samples, and on some rungs lights, read off them."""
        views, lights = pose_reader()(self.projected.images[0].float())
        self._know_views(views)
        if self.rung in ("b-pose", "c-pose"):
            self._know_lights(lights)

    def _know_views(self, views: Tensor) -> None:
        """The raw views (P, 6) of the projected samples; the target's is the truth."""
        self.view_net.know(self._shown(), torch.cat((raw_view(self.head.view), views)))

    def _know_lights(self, lights: Tensor) -> None:
        """The raw lights (P, 4) of the projected samples; the target's is the truth."""
        own = raw_light(self.head.light, self.head.view)
        self.light_net.know(self._shown(), torch.cat((own, lights)))

    def _shown(self) -> Tensor:
        """What V and L are asked for in step 3: the target and its projected samples."""
        return torch.cat((self.images.targets, self.projected.images[0].float()))


@cache
def pose_reader() -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What reads raw views (B, 6) and lights (B, 4) off the teacher's pictures (B, 3, 64, 64).

    A network like V, taught with heads whose poses are known. Its own seed and length, whatever
    the run's.
    """
    config = compose(registry("methods").get("gan2shape"), "heads-64", None, ["instances=1"])
    teacher = FrozenTeacher(config)  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(READER_HEADS, NUM_LATENTS, generator=rng)
    heads = sample_heads(latents)
    known = torch.cat((raw_view(heads.view)[:, :5], raw_light(heads.light, heads.view)), 1)
    mean, deviation = known.mean(0), known.std(0)
    with torch.no_grad():
        codes = head_stylecodes(teacher.generator, latents)
        images = torch.cat([teacher.generated(part) for part in codes.split(CHUNK)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Regressor(config.image_size, 9, width=16).network[:-1]  # no tanh
    adam = torch.optim.Adam(network.parameters(), READER_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, READER_STEPS)
    for _ in range(READER_STEPS):
        index = torch.randint(READER_HEADS, (READER_BATCH,), generator=rng)
        adam.zero_grad()
        with torch.enable_grad():  # asked for between phases
            error = network(images[index]).flatten(1) - (known[index] - mean) / deviation
            error.square().mean().backward()
        adam.step()
        schedule.step()
    network.requires_grad_(False)

    def read(pictures: Tensor) -> tuple[Tensor, Tensor]:
        found = network(pictures).flatten(1) * deviation + mean
        return F.pad(found[:, :5], (0, 1)), found[:, 5:]

    return read


def raw_view(view: View) -> Tensor:
    """B views to (B, 6): the inverse of `view_from_raw`, which knows no z shift."""
    ranges = [math.radians(ROTATION_RANGE)] * 3 + [TRANSLATION_RANGE] * 2 + [math.inf]
    known = view.to_gan2shape()
    return known / known.new_tensor(ranges)


def raw_light(light: LambertLight, view: View) -> Tensor:
    """B lights in camera space at views, to (B, 4) in the canonical frame."""
    own = light.in_scene(view)
    x, y, z = own.direction.unbind(1)
    return light_to_raw(replace(own, direction=torch.stack((x, y, z.clamp(max=LEAST_FRONT)), 1)))


class Truth:
    """What N heads are, and scores against it.

    Args:
        latents: (N, NUM_LATENTS).
        size: pixels per side.
    """

    def __init__(self, latents: Tensor, size: int) -> None:
        heads = sample_heads(latents)
        front = heads_scene(heads, size).render(View.from_angles([0.0] * len(heads)))
        assert front.depth is not None
        self.view = heads.view
        self.maps = render_heads(heads, size)
        self.depth = torch.where(front.mask >= 0.5, front.depth, FAR)  # canonical
        self.mask = front.mask > 0.99
        self.camera = PinholeCamera(size, FIELD_OF_VIEW)

    def errors(self, depth: Tensor, view: View) -> dict[str, list[float]]:
        """SIDE x 100 and MAD in degrees of canonical depth (N, 1, S, S), seen from N views."""
        n = len(depth)
        grey = torch.zeros(n, 3, *depth.shape[2:])
        light = LambertLight.frontal(n)
        factors = Factors(depth, grey, depth_normals(depth, self.camera), view, light)
        mask = subject_mask(self.maps["mask"], factors, self.camera)
        scene = DepthMapScene(depth, grey, light, view, depth_range=DEPTH_RANGE, mask=mask)
        seen = scene.render(view)
        assert seen.depth is not None
        mad = MAD(fov=FIELD_OF_VIEW, normal_epsilon=RELEASED_NORMAL_EPSILON)
        compared = (seen.depth, self.maps["depth"], seen.mask)
        return {
            "side": SIDE().instances(*compared).tolist(),
            "mad": mad.instances(*compared).tolist(),
        }

    def individual(self, depth: Tensor) -> list[float]:
        """Correlation of each head's individual part of depth (N, 1, S, S) with the true one's."""
        inside = self.mask.all(0)[0]
        found, true = (x[:, 0, inside].double() for x in (depth, self.depth))
        found, true = (x - x.mean(0) for x in (found, true))
        found, true = (x - x.mean(1, keepdim=True) for x in (found, true))
        return F.cosine_similarity(found, true, dim=1).tolist()


def scores(truth: Truth, depth: Tensor, found: View) -> dict[str, list[float]]:
    """What is said of a rung, a number for each head.

    Args:
        truth: of N heads.
        depth: (N, 1, S, S) canonical, of a rung.
        found: N views that V finds.
    """
    shapes = {
        "own": depth,
        "mean": depth.mean(0, keepdim=True).expand_as(depth),
        "another": depth.roll(-1, 0),
    }
    result = {"correlation": truth.individual(depth)}
    for at, view in (("true", truth.view), ("found", found)):
        for shape, maps in shapes.items():
            for metric, values in truth.errors(maps, view).items():
                result[f"{metric}, {shape} shape, {at} view"] = values
    return result


def summary(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Means with standard errors; of other shapes, of how much worse than the own they are."""
    means = {key: mean_and_error(list(numbers)) for key, numbers in values.items()}
    for at in ("true", "found"):
        for metric in ("side", "mad"):
            own = values[f"{metric}, own shape, {at} view"]
            for shape in ("mean", "another"):
                other = values[f"{metric}, {shape} shape, {at} view"]
                more = [b - a for a, b in zip(own, other, strict=True)]
                means[f"{metric}, {shape} less own shape, {at} view"] = mean_and_error(more)
    return means


def known_mean(values: list[float]) -> dict[str, float]:
    """Mean, its standard error and the number of those that are known."""
    known = [x for x in values if math.isfinite(x)]
    return {**(mean_and_error(known) if known else {"mean": math.nan, "error": math.nan}),
            "count": len(known)}  # fmt: skip


def mean_and_error(values: Sequence[float]) -> dict[str, float]:
    """The mean and its standard error (0 of a single value)."""
    x = torch.tensor(values, dtype=torch.float64)
    error = x.std() / math.sqrt(len(x)) if len(x) > 1 else torch.zeros(())
    return {"mean": round(float(x.mean()), 4), "error": round(float(error), 4)}


def climbed(config: GAN2ShapeConfig, rung: str, parts: Path) -> dict[str, Tensor]:
    """What a head's training on a rung ends with (`Climb.result`) and its seconds, kept in a file
    whose name says of what."""
    made = f"{rung} {to_yaml(config)} {environment.commit()}"
    path = parts / f"{rung}-{config.first}-{hashlib.sha256(made.encode()).hexdigest()[:12]}"
    if not path.is_file():
        began = time.process_time()
        run = Climb(config, rung)
        run.train_all()
        found = {**run.result(), "seconds": torch.tensor(time.process_time() - began)}
        with atomic_write(path) as draft:
            save_file(found, draft)
    return load_file(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=list(RUNGS))
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--split", default="val", choices=("val", "test"))
    options = parser.parse_intermixed_args()
    heads = range(options.heads)
    spec = registry("methods").get("gan2shape")
    config = compose(spec, "heads-64", None, [f"split={options.split}", *options.keys])
    assert isinstance(config, GAN2ShapeConfig)
    parts = Path(f"{options.out}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Tensor]]] = {rung: [] for rung in options.rungs}
    for head in heads:
        for rung, kept in found.items():
            kept.append(climbed(replace(config, instances=1, first=head), rung, parts))
            print(f"{rung} {head}: {kept[-1]['seconds']:.0f} s", flush=True)
    truth = Truth(head_latents(options.split, heads), config.image_size)
    for rung, kept in found.items():
        depth, view = (torch.cat([one[key] for one in kept]) for key in ("depth", "view"))
        values = scores(truth, depth, view_from_raw(view))
        row = {
            "rung": rung,
            "what": RUNGS[rung],
            "keys": options.keys,
            "commit": environment.commit(),
            "seconds_a_head": round(sum(float(one["seconds"]) for one in kept) / len(kept), 1),
            "means": summary(values),
            "values": values,
        }
        add_row(options.out, row, {"data": f"heads, {options.split}", "heads": options.heads})
        for key, x in row["means"].items():
            print(f"{rung}: {key} {x['mean']:.3f} \u00b1 {x['error']:.3f}")


def add_row(path: Path, row: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Put a row into the file, in the place of the one of the same rung and keys, if any.

    Rows of other heads are dropped: they cannot be compared.
    """
    stored = json.loads(path.read_text()) if path.is_file() else {}
    same = all(stored.get(key) == value for key, value in data.items())
    rows = stored.get("rows", []) if same else []
    rows = [x for x in rows if (x["rung"], x["keys"]) != (row["rung"], row["keys"])]
    write_json(path, {"machine": environment.machine(), **data, "rows": [*rows, row]})


if __name__ == "__main__":
    main()
