"""``gan3d-bench invert``: stylecodes of photographs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan3d_bench.benchmarks.formats import fixed
from gan3d_bench.commands.pictures import ALIGN, read_images, require_on_bad
from gan3d_bench.config import check_values
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, require_folder, write_errors
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.machine import environment
from gan3d_bench.machine.device import require_device
from gan3d_bench.terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from gan3d_bench.generators.inversion.invert import Inversion


def invert(
    photographs: Sequence[Path],
    teacher: str,
    config: InversionConfig,
    align: str,
    image_size: int,
    seed: int,
    device: str,
    out: Path,
    on_bad: str = "refuse",
) -> int:
    """Find the stylecodes of photographs and write what the teacher makes of them.

    Written to `out`: ``<stem>.pt`` with the tensor ``latent``, (w_dim,) or (num_ws, w_dim), and
    ``noise``, a list of maps, if they were fitted; ``images/<stem>.png``, what was inverted;
    ``<stem>/generator.safetensors``, the tuned generator of a StyleGAN2 teacher;
    ``inversion.png``; ``inversion.json``.

    Args:
        photographs: pictures, folders or zip files.
        teacher: see `generators.teachers.load_teacher`.
        config: how; see there.
        align: ``ffhq`` cuts a picture's largest face as FFHQ's, ``none`` its centred square.
        image_size: of the teacher's images, where it makes several.
        seed: of all random numbers.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
        out: folder.
        on_bad: ``refuse`` stops at a picture that cannot be used, ``skip`` leaves it out.

    Raises:
        UserError: a value of `config` or `align` that cannot be, no such teacher, or a picture that
            cannot be used.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    if align not in ALIGN:
        raise UserError(f"--align {align}: expected {' or '.join(ALIGN)}")
    require_on_bad(on_bad)
    check_values(config, "--")
    require_folder("--out", out)

    import torch

    from gan3d_bench.generators.inversion.invert import invert, joined, steps_in_all
    from gan3d_bench.generators.inversion.pictures import save_inversion
    from gan3d_bench.generators.teachers import load_teacher
    from gan3d_bench.progress import StepProgress

    place = require_device(device)
    loaded = load_teacher(teacher, image_size)
    for network in (loaded.generator, loaded.discriminator):
        if network is not None:
            network.to(place)
    given = read_images(photographs, align, loaded.generator.image_size, on_bad)
    names, images = list(given), torch.stack(list(given.values()))
    began, each = time.monotonic(), steps_in_all(config, 1)
    found: list[Inversion] = []
    with StepProgress(each * len(names)) as bar:
        for first in range(0, len(names), config.batch):
            part = slice(first, first + config.batch)
            inversion = invert(
                loaded,
                images[part],
                config,
                torch.Generator().manual_seed(seed),
                lambda what, done, before=first * each: bar.update(what, before + done),
                first=first,
            )
            _write(inversion, names[part], images[part], out)
            # tuned generators are large: one batch's at a time
            found.append(replace(inversion, generators=()))
    seconds = time.monotonic() - began
    whole = joined(found)
    written = [save_inversion(whole, images, out / "inversion.png"), out / "inversion.json"]
    write_json(
        written[-1],
        {
            "teacher": {
                "name": teacher,
                "image_size": loaded.generator.image_size,
                "sha256": teacher_hash(teacher),
            },
            "config": asdict(config),
            "align": align,
            "seed": seed,
            "images": _rows(names, whole),
            "distance": whole.perceptual,
            "seconds": round(seconds, 2),
            "environment": environment.describe(),
        },
    )
    for row in _rows(names, whole):
        numbers = f"{fixed(row['distance'], 4)}, PSNR {fixed(row['psnr'], 1)} dB"
        say(f"{row['name']}: {whole.perceptual} {numbers}")
    for file in written:
        say(file)
    return 0


def _write(inversion: Inversion, names: Sequence[str], images: Tensor, out: Path) -> None:
    import torch

    from gan3d_bench.generators.stylegan2.checkpoint import save_network
    from gan3d_bench.generators.stylegan2.generator import Generator
    from gan3d_bench.generators.stylegan2.teacher import GENERATOR
    from gan3d_bench.pictures.grids import save_png, to_image, unit_range

    for i, name in enumerate(names):
        save_png(to_image(unit_range(images[i])), out / "images" / f"{name}.png")
        codes: dict[str, Any] = {"latent": inversion.w[i].cpu()}
        if inversion.noise:
            codes["noise"] = [level[i].cpu() for level in inversion.noise]
        file = out / f"{name}.pt"
        with write_errors(file), atomic_write(file) as draft:
            torch.save(codes, draft)
    for name, generator in zip(names, inversion.generators, strict=False):
        if isinstance(generator, Generator):
            save_network(generator, out / name / GENERATOR)
        else:
            say(f"{name}: no file of the tuned generator; only those of StyleGAN2 are written")


def _rows(names: Sequence[str], inversion: Inversion) -> list[dict[str, Any]]:
    """What was reached, image by image. PSNR is that of the pixels as compared, in dB."""
    rows = []
    for i, name in enumerate(names):
        error = float(inversion.error[i])
        rows.append(
            {
                "name": name,
                "distance": float(inversion.distance[i]),
                "psnr": 10 * math.log10(4 / max(error, 1e-12)),
            }
        )
        if inversion.projection is not None:
            rows[-1]["distance_before_tuning"] = float(inversion.projection.distance[i])
    return rows
