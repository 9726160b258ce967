"""``gan3d-bench reconstruct``: from photographs of faces to pictures and meshes of them in 3D."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_bench.commands.pictures import read_pictures, require_on_bad
from gan3d_bench.config import RunConfig, compose
from gan3d_bench.errors import Interrupted, UserError
from gan3d_bench.files.atomic import require_folder
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.registry import registry
from gan3d_bench.spec import MethodSpec
from gan3d_bench.terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from gan3d_bench.faces.ffhq import AlignedPhotograph
    from gan3d_bench.scenes.base import Scene

ALIGNED_SIZE = 512
FACES = ("largest", "all")


def reconstruct(
    photographs: Sequence[Path],
    method: str,
    preset: str | None,
    run: Path | None,
    out: Path,
    faces: str,
    overrides: Sequence[str],
    on_bad: str = "refuse",
) -> int:
    """Find the faces, cut them as FFHQ's, lift them to 3D and write what they look like.

    Methods that are fitted to their images train a run first; the same command goes on with it if
    it was stopped. With `run`, a trained run's networks take the photographs as they are.

    Raises:
        UserError: an unreadable photograph or one without a face, a method that cannot take
            photographs, a wrong option or config key.
    """
    spec: MethodSpec = registry("methods").get(method)
    if faces not in FACES:
        raise UserError(f"--faces {faces}: expected {' or '.join(FACES)}")
    require_on_bad(on_bad)
    require_folder("--out", out)
    if run is None:
        # every mistake in the config is said before any work
        compose(spec, _preset(spec, preset), None, overrides_for(spec, Path("."), 1, overrides))
        trained = None
    else:
        trained = _open(run, spec, preset, overrides)

    found = _faces(photographs, faces, on_bad)
    if trained is None:
        try:
            trained = _fit(spec, preset, found, out, overrides)
        except Interrupted as stop:
            say(f"{stop}. The same command goes on from there")
            return 128 + stop.signal
        if trained is None:  # another process than rank zero
            return 0

    from gan3d_bench.training.fit import load_method

    lifted = load_method(trained)
    for name, face in found.items():
        images = lifted.framed(face.image[None])
        files = _write(lifted.reconstruct(images), images, face, out / name)
        say(f"{out / name}: {', '.join(file.name for file in files)}")
    say(f"run: {trained}")
    return 0


def _preset(spec: MethodSpec, preset: str | None) -> str:
    if spec.photographs is None:
        able = sorted(
            name for name, other in registry("methods").specs.items() if other.photographs
        )
        raise UserError(
            f"method '{spec.name}' is not fitted to photographs; expected --run RUN of it, or "
            f"--method {' or '.join(able)}"
        )
    return preset or spec.photographs.preset


def overrides_for(
    spec: MethodSpec, folder: Path, count: int, overrides: Sequence[str]
) -> list[str]:
    """Return the ``key=value`` of a run that is fitted to photographs.

    Args:
        spec: of a method that can be.
        folder: of the aligned photographs.
        count: their number.
        overrides: the user's.

    Raises:
        UserError: one of these sets what only the command knows.
    """
    assert spec.photographs is not None
    folder = folder.absolute()
    own = [text.format(folder=folder, count=count) for text in spec.photographs.overrides]
    keys = {text.partition("=")[0] for text in own}
    for text in overrides:
        if text.partition("=")[0] in keys:
            raise UserError(f"{text}: set by `reconstruct` itself; expected another key")
    return [*own, *overrides]


def _open(run: Path, spec: MethodSpec, preset: str | None, overrides: Sequence[str]) -> Run:
    if preset is not None or overrides:
        given = f"--preset {preset}" if preset is not None else overrides[0]
        raise UserError(f"{given}: a trained run keeps its config; expected neither with --run")
    trained = Run.open(run)
    if trained.spec.name != spec.name:
        raise UserError(f"--run {run}: a run of '{trained.spec.name}'; expected '{spec.name}'")
    if not spec.reconstructs:
        raise UserError(f"method '{spec.name}' samples scenes; expected one that reconstructs")
    return trained


def _faces(photographs: Sequence[Path], faces: str, on_bad: str) -> dict[str, AlignedPhotograph]:
    """Aligned faces by the names of their folders, in the order given."""
    from gan3d_bench.faces.ffhq import PhotographAligner
    from gan3d_bench.files.photographs import to_tensor

    aligner = PhotographAligner(size=ALIGNED_SIZE, faces=faces)  # type: ignore[arg-type]
    return read_pictures(
        photographs, lambda picture, name: aligner(to_tensor(picture), [name]), on_bad
    )


def _fit(
    spec: MethodSpec,
    preset: str | None,
    found: dict[str, AlignedPhotograph],
    out: Path,
    overrides: Sequence[str],
) -> Run | None:
    """The run fitted to the faces: an earlier one of the same config, or a new one."""
    from gan3d_bench.pictures.grids import save_png, to_image, unit_range
    from gan3d_bench.training import fit as training

    key = hashlib.sha256()
    for face in found.values():
        key.update(face.image.numpy().tobytes())
    folder = out / "aligned" / key.hexdigest()[:12]
    for name, face in found.items():
        save_png(to_image(unit_range(face.image)), folder / f"{name}.png")
    chosen = _preset(spec, preset)
    config = compose(spec, chosen, None, overrides_for(spec, folder, len(found), overrides))
    earlier = _earlier(config)
    if earlier is not None and earlier.finished:
        return earlier
    return training.fit(spec, config if earlier is None else earlier.config, earlier)


def _earlier(config: RunConfig) -> Run | None:
    from gan3d_bench.training.fit import with_precision

    asked = config.trainer.precision
    for run in reversed(Run.find(config.method, config.preset)):
        try:
            # a run's config states what "auto" was to it
            precision = run.config.trainer.precision if asked == "auto" else asked
            if with_precision(config, precision) == run.config:
                return run
        except UserError:  # of another version: not this one
            continue
    return None


def _write(scene: Scene, images: Tensor, face: AlignedPhotograph, folder: Path) -> list[Path]:
    from gan3d_bench.pictures.grids import save_png, to_image, unit_range
    from gan3d_bench.tracking.media import write_maps, write_overview

    written = [save_png(to_image(unit_range(face.image)), folder / "aligned.png")]
    written.append(folder / "face.json")
    write_json(
        written[-1],
        {
            "score": face.score,
            "points_in_aligned": face.points.tolist(),
            "photograph_to_aligned": face.matrix.tolist(),
            "aligned_size": ALIGNED_SIZE,
            "invented_share": round(face.invented, 4),
        },
    )
    written += write_overview(scene, folder, images)
    for kind, paths in write_maps(scene, folder, subjects=1).items():
        written.append(paths[0].replace(folder / f"{kind}{paths[0].suffix}"))
    return written
