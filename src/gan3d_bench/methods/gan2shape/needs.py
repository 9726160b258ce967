"""What a GAN2Shape run takes at least, see `RunConfig.needs`. Imports no torch."""

from gan3d_bench.config import BYTE, HALF, Need, pixels

KEPT = 8  # channels that are kept of an instance: image, mask, depth, albedo


def needs_of(
    instances: int, at_once: int, samples: int, pool: int, batch: int, targets: int, size: int
) -> list[Need]:
    """Return the parts.

    Args:
        instances: of the run.
        at_once: instances of a group.
        samples: projected ones kept of each of these.
        pool: samples of the warm-up that are kept.
        batch: pseudo samples of each instance in a step.
        targets: instances in a step.
        size: pixels a side.
    """
    all_of_them = {"instances": instances, "image_size": size}
    return [
        Need(
            all_of_them,
            "images, depth and albedo of the instances",
            pixels(instances, size, KEPT) + pixels(instances, size, 3, BYTE),
        ),
        Need(
            {**all_of_them, "samples_per_instance": samples},
            "projected samples of instances trained at once",
            samples * pixels(at_once, size, 3, HALF),
        ),
        Need({"warmup.pool": pool}, "samples of the warm-up", pixels(pool, size, 3, HALF)),
        Need({**all_of_them, "batch": batch}, "images of a step", pixels(batch * targets, size, 3)),
    ]
