"""The command line: parses, calls, prints. Imports no torch; commands import what they run.

Exit codes: 0 done, 1 a check failed or training broke down, 2 the user's mistake (one line on
standard error), 128 + signal when told to stop.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gan3d_bench import __version__
from gan3d_bench.assets.cli import assets_app
from gan3d_bench.commands.importing import ExportCommand, ImportCommand
from gan3d_bench.commands.options import ANGLES, SEEDS, SIDES, STEPS, SUBJECTS, WEIGHTS, number
from gan3d_bench.errors import Interrupted, NonFiniteLossError, UserError, one_line
from gan3d_bench.machine.process_settings import restart_with_settings
from gan3d_bench.terminal import say

app = typer.Typer(
    name="gan3d-bench",
    help="Lifting pre-trained GANs to 3D: train a method, measure it, compare it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(assets_app, name="assets")

# Typer carries click in newer versions and imports it in older ones; both end in this class.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]  # type: ignore[assignment]

HEAVY = (
    *("fit", "eval", "render", "figures", "reconstruct", "invert", "camera", "directions", "check"),
    *("annotate-views", "study"),
)
Photographs = Annotated[
    list[Path], typer.Argument(metavar="PHOTO...", help="pictures, folders or zip files")
]
OnBad = Annotated[
    str, typer.Option("--on-bad", help="a picture that cannot be used: refuse, or skip and say")
]
REPEATABLE = {
    "eval": ("--run", "--method", "--results", "--network"),
    "compare": ("--run", "--results"),
    "report": ("--run", "--results"),
    "render": ("--yaw",),
    "figures": ("--image", "--style"),
    "reconstruct": ("--set",),
}


@app.command()
def fit(
    method: Annotated[str, typer.Option(help="see `list methods`")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="config keys to change")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="see `list presets`")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of config keys")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the latest run")] = False,
    run: Annotated[Path | None, typer.Option(help="with --resume: the run folder")] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="print the resolved config, explained, and stop")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="list the keys, their ranges and defaults, and stop")
    ] = False,
) -> int:
    """Train a method; the run lies in runs/METHOD/PRESET/TIME."""
    from gan3d_bench.commands.fit import fit

    return fit(method, preset, config, resume, run, print_config, keys, overrides or [])


@app.command("eval")
def evaluate(
    table: Annotated[str, typer.Option(help="see `list tables`")],
    run: Annotated[list[Path] | None, typer.Option(help="a run folder; may be repeated")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="latest finished runs of a method; may be repeated")
    ] = None,
    samples: Annotated[
        int | None,
        number("number of test items; else the table's standard number", least=1, most=100_000),
    ] = None,
    seeds: Annotated[
        int,
        number("runs of a row that differ in the seed alone, where there are", least=1, most=100),
    ] = 1,
    row: Annotated[
        list[str] | None,
        typer.Option(help="measure this row of the runs only; may be repeated; else all"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the table's files")] = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="JSON of a former table to put beside")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    latest: Annotated[
        bool, typer.Option("--latest", help="the latest finished run of each row; as without runs")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure stored rows again")] = False,
    network: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=NAME or FILE, another network than the standard one"),
    ] = None,
) -> int:
    """Fill a table: measured numbers beside the papers'. Without runs: the latest of each row."""
    from gan3d_bench.commands.evaluate import evaluate

    return evaluate(
        table,
        run or [],
        method or [],
        samples,
        out,
        results or [],
        device,
        latest,
        fresh,
        network or [],
        seeds,
        row or [],
    )


@app.command()
def compare(
    table: Annotated[str, typer.Argument(help="see `list tables`")],
    results: Annotated[
        list[Path] | None, typer.Option(help="JSON of measured rows or tables; may be repeated")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="a run folder; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the table's files")] = None,
    form: Annotated[
        str, typer.Option("--format", help="printed: rich, markdown, latex, csv or json")
    ] = "rich",
) -> int:
    """Put stored rows side by side, measuring nothing.

    Without --results and --run: those of the latest runs; where none has any, of results/.
    """
    from gan3d_bench.commands.compare import compare

    return compare(table, results or [], run or [], out, form)


@app.command()
def report(
    results: Annotated[
        list[Path] | None, typer.Option(help="JSON of measured rows or tables; may be repeated")
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(help="a run folder; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file; default runs/report.html")] = None,
) -> int:
    """Write one HTML page of stored rows: tables, curves, pictures, meshes to turn, provenance.

    Without --results and --run: those of the latest runs; where none has any, of results/.
    """
    from gan3d_bench.commands.report import report

    return report(results or [], run or [], out)


@app.command()
def study(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN_A RUN_B | FILE...", help="see below")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="folder or zip file of pictures to reconstruct")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of study.html and key.json")] = None,
    seed: Annotated[int, number("of which run is on which side", **SEEDS)] = 0,
    span: Annotated[
        float, number("degrees that the six views span; 360 goes all round", above=0, most=360)
    ] = 360.0,
    tally: Annotated[
        bool, typer.Option("--tally", help="count the answers in FILE... instead")
    ] = False,
    key: Annotated[Path | None, typer.Option(help="with --tally: the study's key.json")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    on_bad: OnBad = "refuse",
) -> int:
    """Write a page on which people compare two runs, without knowing which is which.

    RUN_A RUN_B --images FOLDER --out FOLDER makes it; --tally FILE... --key KEY counts the answers.
    """
    from gan3d_bench.commands.study import make_study, tally_study

    if tally:
        return tally_study(paths or [], key, images, out)
    return make_study(paths or [], images, out, seed, span, device, on_bad, key)


@app.command()
def render(
    run: Annotated[Path, typer.Option(help="a run folder")],
    yaw: Annotated[list[float] | None, number("degrees; may be repeated", **ANGLES)] = None,
    pitch: Annotated[float, number("degrees", **ANGLES)] = 0.0,
    roll: Annotated[float, number("degrees", **ANGLES)] = 0.0,
    count: Annotated[int, number("subjects, where the method samples", **SUBJECTS)] = 4,
    seed: Annotated[int, number("of the samples", **SEEDS)] = 0,
    out: Annotated[Path | None, typer.Option(help="folder; default RUN/pictures/render")] = None,
) -> int:
    """Write pictures, a turntable (MP4) and meshes (GLB) of a run's scene."""
    from gan3d_bench.commands.render import render

    return render(run, yaw or [-30.0, 0.0, 30.0], pitch, roll, count, seed, out)


@app.command()
def figures(
    run: Annotated[Path, typer.Option(help="a run folder")],
    count: Annotated[int, number("subjects, where the method samples", **SUBJECTS)] = 4,
    seed: Annotated[int, number("of the samples", **SEEDS)] = 0,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="picture, folder or zip file of subjects to show; may be repeated"),
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Option(help="the same, of styles to give the first subject; may be repeated"),
    ] = None,
    align: Annotated[
        str, typer.Option(help="pictures: ffhq, the face as in FFHQ; none, the centred square")
    ] = "ffhq",
    out: Annotated[Path | None, typer.Option(help="folder; default RUN/pictures/figures")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    on_bad: OnBad = "refuse",
) -> int:
    """Draw a run's figures: faces, sweeps, relighting; LiftedGAN: interpolation, style, too."""
    from gan3d_bench.commands.figures import figures

    return figures(run, count, seed, image or [], style or [], align, out, device, on_bad)


@app.command()
def reconstruct(
    photographs: Photographs,
    method: Annotated[str, typer.Option(help="see `list methods`")],
    out: Annotated[Path, typer.Option(help="folder of what is written")],
    preset: Annotated[
        str | None, typer.Option(help="default: the method's for photographs")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="a trained run that takes any image; nothing is trained")
    ] = None,
    faces: Annotated[str, typer.Option(help="of each picture: largest or all")] = "largest",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="config key to change; may be repeated"),
    ] = None,
    on_bad: OnBad = "refuse",
) -> int:
    """Photographs of faces to 3D: aligned crop, views, depth, normals, mesh (GLB), turntable."""
    from gan3d_bench.commands.reconstruct import reconstruct

    return reconstruct(photographs, method, preset, run, out, faces, override or [], on_bad)


@app.command()
def invert(
    photographs: Photographs,
    teacher: Annotated[str, typer.Option(help="a teacher's name, folder or official file")],
    out: Annotated[Path, typer.Option(help="folder of what is written")],
    space: Annotated[str, typer.Option(help="w, or w+ with a stylecode for each layer")] = "w",
    steps: Annotated[int, number("of Adam on the stylecodes", **STEPS)] = 100,
    lr: Annotated[float, number("its learning rate", above=0, most=10)] = 0.1,
    perceptual: Annotated[
        str, typer.Option(help="lpips-vgg, lpips-alex, discriminator or discriminator-l1")
    ] = "",
    pixel: Annotated[float, number("weight of the mean squared error", **WEIGHTS)] = 1.0,
    prior: Annotated[
        float, number("weight of the squared distance from the mean of w", **WEIGHTS)
    ] = 0.05,
    noise: Annotated[
        float,
        number("on stylecodes, in deviations; StyleGAN2's 1000 steps had 0.05", least=0, most=1000),
    ] = 0.0,
    noise_maps: Annotated[
        bool, typer.Option("--noise-maps", help="fit StyleGAN2's noise maps, too")
    ] = False,
    pivotal: Annotated[int, number("steps of pivotal tuning", **STEPS)] = 0,
    batch: Annotated[int, number("pictures at once", least=1, most=4096)] = 8,
    align: Annotated[
        str, typer.Option(help="ffhq: the face as in FFHQ; none: the centred square")
    ] = "ffhq",
    image_size: Annotated[
        int, number("of the teacher's images, where it can make several", **SIDES)
    ] = 256,
    seed: Annotated[int, number("of all random numbers", **SEEDS)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    on_bad: OnBad = "refuse",
) -> int:
    """Find the stylecodes of photographs: GAN inversion into W or W+, with pivotal tuning."""
    from gan3d_bench.commands.invert import invert
    from gan3d_bench.generators.inversion.config import InversionConfig, PivotalConfig

    config = InversionConfig(
        space=space, steps=steps, lr=lr, perceptual=perceptual, pixel=pixel, prior=prior,
        noise=noise, noise_maps=noise_maps, batch=batch, pivotal=PivotalConfig(steps=pivotal),
    )  # fmt: skip
    return invert(photographs, teacher, config, align, image_size, seed, device, out, on_bad)


@app.command()
def camera(
    photographs: Photographs,
    out: Annotated[Path, typer.Option(help="folder of what is written")],
    model: Annotated[str, typer.Option(help="heads, or the path of a Basel Face Model")] = "heads",
    landmarks: Annotated[
        str, typer.Option(help="landmarks-106 or face-mesh-468")
    ] = "landmarks-106",
    image_size: Annotated[int, number("of the crops", **SIDES)] = 512,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    on_bad: OnBad = "refuse",
) -> int:
    """Cut photographs as EG3D does, and find their cameras: 25 numbers each, in dataset.json."""
    from gan3d_bench.commands.camera import camera

    return camera(photographs, model, landmarks, image_size, device, out, on_bad)


@app.command()
def directions(
    teacher: Annotated[str, typer.Option(help="a teacher's name, folder or official file")],
    out: Annotated[Path, typer.Option(help="folder of what is written")],
    samples: Annotated[
        int,
        number(
            "in which yaw is measured; 500 take under 5 minutes on two cores",
            least=50,
            most=100_000,
        ),
    ] = 500,
    truncation: Annotated[float, number("psi of the samples", above=0, most=1)] = 0.8,
    seed: Annotated[int, number("of all random numbers", **SEEDS)] = 0,
    image_size: Annotated[
        int, number("of the teacher's images, where it can make several", **SIDES)
    ] = 128,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> int:
    """Find which way in W a teacher's faces turn: SeFa, GANSpace, yaw hyperplane, regression."""
    from gan3d_bench.commands.directions import directions

    return directions(teacher, samples, truncation, seed, image_size, device, out)


@app.command("annotate-views")
def annotate_views(
    teacher: Annotated[str, typer.Option(help="a StyleGAN2: a name, folder or official file")],
    out: Annotated[Path, typer.Option(help="folder of what is written")],
    candidates: Annotated[
        int, number("view codes that are shown, a row each", least=2, most=1000)
    ] = 60,
    contents: Annotated[int, number("objects that each is shown with", least=1, most=16)] = 4,
    latents: Annotated[
        str, typer.Option(help="what the teacher's latents stand for: cars, heads-360 or unknown")
    ] = "unknown",
    truncation: Annotated[float, number("psi, that of the run", least=0, most=10)] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> int:
    """Show a teacher's view codes, and write the file in which a person gives them azimuths."""
    from gan3d_bench.commands.annotate_views import annotate_views

    return annotate_views(teacher, out, candidates, contents, latents, truncation, device)


@app.command("import", cls=ImportCommand)
def import_(
    file: Annotated[Path, typer.Argument(help="an official checkpoint; nothing in it is run")],
    family: Annotated[str, typer.Option("--as", metavar="NAME", help="what it is, see below")],
    out: Annotated[
        Path | None, typer.Option(help="folder; default: FILE without its suffix")
    ] = None,
) -> int:
    """Import an official checkpoint as a folder of ours."""
    from gan3d_bench.commands.importing import import_checkpoint

    return import_checkpoint(file, family, out)


@app.command(cls=ExportCommand)
def export(
    folder: Annotated[Path, typer.Argument(help="what import or fit wrote")],
    file: Annotated[Path, typer.Argument(help="the file to write")],
    family: Annotated[
        str, typer.Option("--as", metavar="NAME", help="in which format, see below")
    ] = "stylegan2",
) -> int:
    """Write the networks of a folder as an official checkpoint."""
    from gan3d_bench.commands.importing import export_checkpoint

    return export_checkpoint(folder, file, family)


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="methods, presets, tables, datamodules, generators or assets")
    ],
) -> None:
    """Print what there is."""
    from gan3d_bench.commands.listing import show

    show(kind)


@app.command()
def doctor() -> int:
    """Print versions, devices, assets and what each missing one unlocks, plug-ins that failed."""
    from gan3d_bench.commands.doctor import doctor

    return doctor()


@app.command()
def check(name: Annotated[str, typer.Argument(help="a method")]) -> int:
    """Check a method, the suite's or a plug-in's: the definition of done."""
    from gan3d_bench.conformance.checks import check

    return check(name)


@app.command()
def dashboard(
    project: Annotated[str, typer.Option(help="W&B project")] = "gan3d-bench",
    entity: Annotated[str, typer.Option(help="W&B user or team; default: your own")] = "",
) -> int:
    """Make the W&B workspace that compares runs: tables, pictures, turntables, meshes, curves."""
    from gan3d_bench.commands.dashboard import dashboard

    return dashboard(project, entity)


@app.command()
def version() -> None:
    """Print the version."""
    say(__version__)


def main() -> None:
    """Run the command line and exit."""
    # a name that the terminal's encoding lacks is shown escaped, on both streams
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arguments = sys.argv[1:]
    if arguments and arguments[0] in HEAVY:
        restart_with_settings()
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run one command in this process and return its exit code."""
    try:
        _refuse_repeated(arguments)
        return app(arguments, standalone_mode=False) or 0
    except UserError as error:
        return _fail(str(error))
    except Interrupted as stop:
        _say(str(stop))
        return 128 + stop.signal
    except NonFiniteLossError as error:
        _say(f"training stopped: {error}")
        return 1
    except ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())  # type: ignore[attr-defined]
            return 2
        return _fail(error.format_message())  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        say("gan3d-bench: interrupted", file=sys.stderr)
        return 130


def _refuse_repeated(arguments: list[str]) -> None:
    """Raise a `UserError` for an option given twice, of which only the last would count.

    An option that may be repeated may not have the same value twice.
    """
    repeatable = REPEATABLE.get(arguments[0], ()) if arguments else ()
    given: list[str] = []
    for text, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, sign, value = text.partition("=")
        if name.startswith("--"):
            own = value if sign else after
            given.append(f"{name} {own}" if name in repeatable else name)
    for option in sorted(set(given)):
        if given.count(option) > 1:
            raise UserError(f"{option} is given {given.count(option)} times; expected once")


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return 2


def _say(message: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line, not one a process
        say(f"gan3d-bench: {one_line(message)}", file=sys.stderr)


if __name__ == "__main__":
    main()
