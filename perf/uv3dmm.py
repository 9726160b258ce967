"""Time of a training step of the UV generator against its networks' part of it alone.

Steps of the preset's last phase (both views, discriminator every fifth step, averaged weights,
without logging) in turns with the floor: the passes of the teacher, the UV generator, the
discriminator and the perceptual network on images of the same sizes, without rendering. Prints
median milliseconds, their ratio, images a second, peak memory, and where the time of a step goes.

    python -m perf.uv3dmm [--preset heads-64] [--threads 2] [--device cuda] [KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from gan3d_bench.adversarial.losses import called_real
from gan3d_bench.config import compose
from gan3d_bench.machine.precision import resolve
from gan3d_bench.methods.uv3dmm.method import UV3DMM
from gan3d_bench.registry import registry
from gan3d_bench.training.fit import build, with_precision
from perf.liftedgan import median_ms, peak_gib, shares


class Plain(UV3DMM):
    """The method in a plain loop, at its last phase."""

    def begin(self) -> None:
        """Make the phase's optimisers."""
        self.phase_index = len(self.schedule) - 1
        self._freeze_others()
        self.adams = {
            name: item.optimizer([p for m in self._modules_of(item) for p in m.parameters()])
            for name, item in self.phase.trainable.items()
        }

    def descend(self, terms: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:  # type: ignore[override]
        """A step down the terms' sum."""
        adam = self.adams[name]
        adam.zero_grad(set_to_none=True)
        torch.stack([value.float() for value in terms.values()]).sum().backward()
        adam.step()
        return {key: value.detach() for key, value in terms.items()}

    def trained(self, number: int) -> None:
        """One step of the phase."""
        self.phase_step = number
        with self.autocast():
            self.phase.step(None)

    def floor(self, number: int) -> None:
        """The networks of a step alone; the discriminator's own update in every fifth."""
        self.phase_step = number
        assert self.discriminator is not None
        with self.autocast():
            with torch.no_grad():
                seen = self._step_pictures()
                targets = seen.targets
            picture = self.uv_generator(seen.w).diffuse
            loss = torch.stack([called_real(self.discriminator(picture)) for _ in targets]).sum()
            if self.perceptual is not None:
                for target in targets:
                    loss = loss + self.perceptual(picture, target).mean()
            loss.backward()
            if number % self.config.adversarial.discriminator_every == 0:
                for image in (*targets, picture.detach(), picture.detach()):
                    called_real(self.discriminator(image)).backward()

    def autocast(self) -> torch.autocast:
        """What the trainer's precision asks for."""
        mixed = self.config.trainer.precision == "bf16-mixed"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--preset", default="heads-64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    spec = registry("methods").get("uv3dmm")
    # no pairs are fitted: what coefficients untrained networks give costs the same
    overrides = ["maps.stylecodes=new", "maps.keep_pictures=false", *options.overrides]
    config = compose(spec, options.preset, None, overrides)
    precision = resolve(config.trainer.precision, options.device).value
    build(spec, with_precision(config, precision))  # what is not there is said as `fit` says it
    method = Plain(with_precision(config, precision))  # type: ignore[arg-type]
    method.to(options.device)
    method.begin()
    device, batch = torch.device(options.device), method.config.batch
    cycle = method.config.adversarial.discriminator_every
    for run in (method.trained, method.floor):
        median_ms(run, device, 2)  # caches, allocator, algorithms

    def mean_ms(run) -> float:
        """Of a whole cycle, the discriminator's update among it."""
        return statistics.mean(
            median_ms(lambda _, number=n: run(number), device, 1) for n in range(1, cycle + 1)
        )

    rounds = [
        [mean_ms(run) for run in (method.trained, method.floor)] for _ in range(options.rounds)
    ]
    own, reference = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"{options.preset}, batch {batch}, {method.config.trainer.precision}, {device}")
    print(f"step      {own:8.1f} ms, {1e3 * batch / own:.1f} subjects/s, {1e3 / own:.2f} steps/s")
    print(f"floor     {reference:8.1f} ms (networks alone)")
    print(f"ratio     {own / reference:8.2f}")
    print(f"memory    {peak_gib(device):8.2f} GiB at most")
    for kind, part in shares(lambda _: method.trained(1), device).items():
        print(f"  {part:6.1%} {kind}")


if __name__ == "__main__":
    main()
