"""Time of a training step of StyleGAN-R's inverse graphics against its networks' part of it alone.

Steps of phase 2 after the warm-up (two views of each object, Eqs. 1 and 2, without logging) in
turns with the floor: the passes of the inverse graphics network and of the perceptual network on
images of the same sizes, without rendering, silhouettes and mesh losses. A step of fine-tuning
(Eq. 6) is timed beside them. No pictures are made and nothing is trained before: the sphere, as the
cameras see it in a random texture, stands for the teacher's objects. Prints median milliseconds,
their ratio, peak memory, and where the time of a step goes.

    python -m perf.stylegan_r [--teacher heads-teacher-64] [--threads 2] [--device cuda] [KEY=VALUE]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.machine.precision import resolve
from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.method import StyleGANR
from gan3d_bench.methods.stylegan_r.networks import Properties
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build, with_precision
from perf.liftedgan import autocast, median_ms, peak_gib, shares

INVERSE, FINETUNE = 1, 3  # phases


class Plain(StyleGANR):
    """The method in a plain loop, on pictures of the sphere."""

    def begin(self, phase: int) -> None:
        """Make a phase's optimisers, at the first step with all losses."""
        self.phase_index = phase
        self.phase_step = self.config.inverse.warmup
        self._freeze_others()
        self.adams = {
            name: item.optimizer([p for m in self._modules_of(item) for p in m.parameters()])
            for name, item in self.phase.trainable.items()
        }

    def descend(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        """A step of all optimisers down the terms' sum."""
        for adam in self.adams.values():
            adam.zero_grad(set_to_none=True)
        torch.stack([value.float() for value in terms.values()]).sum().backward()
        for adam in self.adams.values():
            adam.step()
        return {key: value.detach() for key, value in terms.items()}

    def trained(self, _: int) -> None:
        """One step of the phase."""
        with autocast(self):  # type: ignore[arg-type]
            self.phase.step(None)

    def floor(self, _: int) -> None:
        """The networks of a step of `INVERSE` alone."""
        batch = self.config.inverse.batch
        images, masks, _camera = self._read(self._drawn("", "", batch, 2).t().flatten())
        with autocast(self):  # type: ignore[arg-type]
            found = self.inverse_graphics(images[:batch])
            loss = found.move.square().mean() + found.texture.square().mean()
            if self.perceptual is not None:
                drawn = images.clone().requires_grad_(True)
                loss = loss + self.perceptual(drawn, images, masks).mean()
            loss.backward()

    def _drawn(self, name: str, key: str, batch: int, views: int) -> Tensor:
        return torch.arange(batch * views).view(batch, views)

    def _read(self, numbers: Tensor) -> tuple[Tensor, Tensor, Orbit]:
        camera = self.cameras()[numbers.to(self.device) % len(self.views)]
        if not hasattr(self, "shown") or len(self.shown[0]) != len(numbers):
            still = self.template.vertices.new_zeros(len(numbers), len(self.template.vertices), 3)
            width = self.config.network.texture_size
            texture = torch.rand(len(numbers), 3, width // 2, width, device=self.device) * 2 - 1
            with torch.no_grad():
                drawn = self.draw(Properties(still, texture), camera)
            self.shown = drawn.over(0.2), drawn.mask
        return *self.shown, camera


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--preset", default="cars-64")
    parser.add_argument("--teacher", default="heads-teacher-64", help="a StyleGAN2 of its size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    spec = registry("methods").get("stylegan-r")
    given = [f"teacher={options.teacher}", "views=even", "masks=background", *options.overrides]
    config = compose(spec, options.preset, None, given)
    precision = resolve(config.trainer.precision, options.device).value
    build(spec, with_precision(config, precision))  # what is not there is said as `fit` says it
    method = Plain(with_precision(config, precision))  # type: ignore[arg-type]
    method.to(options.device)
    device, batch = torch.device(options.device), method.config.inverse.batch

    def timed(runs: Mapping[str, Callable[[int], None]]) -> dict[str, float]:
        """Medians in milliseconds of calls in turns; the first turn warms up."""
        found: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(options.rounds + 1):
            for name, run in runs.items():
                spent = median_ms(run, device, 1)
                if number:
                    found[name].append(spent)
        return {name: statistics.median(times) for name, times in found.items()}

    method.begin(INVERSE)
    inverse = timed({"step": method.trained, "floor": method.floor})
    kinds = shares(method.trained, device)
    method.begin(FINETUNE)
    finetune = timed({"step": method.trained})["step"]
    own, reference = inverse["step"], inverse["floor"]
    print(f"{options.preset}, batch {batch}, {method.config.trainer.precision}, {device}")
    print(f"step      {own:8.1f} ms, {1e3 / own:.2f} steps/s")
    print(f"floor     {reference:8.1f} ms (networks alone)")
    print(f"ratio     {own / reference:8.2f}")
    cycles = method.config.finetune.batch
    print(f"cycles    {finetune:8.1f} ms a step of fine-tuning, batch {cycles}")
    print(f"memory    {peak_gib(device):8.2f} GiB at most")
    for kind, part in kinds.items():
        print(f"  {part:6.1%} {kind}")


if __name__ == "__main__":
    main()
