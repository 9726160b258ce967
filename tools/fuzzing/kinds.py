"""The kinds of tries: each makes files in an empty folder and returns the command to run there.

To add one, write a function ``(campaign, rng, folder) -> arguments`` and a line in `KINDS`.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import os
import pickle
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import lightning  # noqa: F401  # what is slow to import is imported once, before any try
import torch
import typer
import typing_extensions  # whose hints are those of Python 3.11 on 3.10 as well
from PIL import Image
from typer.models import OptionInfo

import gan3d_bench.training.fit  # noqa: F401
from fuzzing import mutations
from fuzzing.process import Ended, fault, forked
from gan3d_bench import cli
from gan3d_bench.benchmarks.results import Estimate, Result
from gan3d_bench.commands.importing import known
from gan3d_bench.config import compose, declared, explained_yaml, preset_text
from gan3d_bench.files.torch_files import read_everything
from gan3d_bench.registry import registry
from gan3d_bench.spec import load

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import official_files

QUICK = ("trainer.accelerator=cpu", "trainer.preview_every=-1", "trainer.checkpoint_minutes=1e-6")
NOT_TRIED = ("check", "dashboard", "doctor", "fetch")
"""Commands that take minutes, or a network, whatever their arguments are."""


@dataclass(frozen=True)
class Tried:
    """A try and how it ended; `fault` is "" if that was well."""

    number: int
    kind: str
    command: str
    fault: str
    end: str
    out: str = field(repr=False)
    err: str = field(repr=False)


@dataclass
class Campaign:
    """What tries share: a folder, and of each method a finished run of its preset ``check``.

    Attributes:
        folder: of everything that is written; the home folder of all tries.
        methods: whose runs are made; None for all.
        runs: method -> its run, and the seconds that it took.
        method: that the present try is of, if it needs a run.
    """

    folder: Path
    methods: list[str] | None = None
    runs: dict[str, tuple[Path, float]] = field(default_factory=dict)
    method: str = ""

    def __post_init__(self) -> None:
        os.environ |= {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}

    def attempt(self, kind: Kind, rng: Random, number: int) -> Tried:
        """Make a try in a new folder, which is gone afterwards."""
        folder = self.folder / "try" / "here"
        folder.mkdir(parents=True)
        noted = folder.with_name("arguments")
        signals: list[tuple[float, int]] = []
        if kind.trained:
            self.method = rng.choice(self.methods or registry("methods").names())
            _, whole = self.run(self.method)
            signals = _signals(rng, whole) if kind.stopped else []
        before = _peak()

        def work() -> int:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of making the files
                arguments = kind.prepare(self, rng, folder)
            noted.write_text(json.dumps(" ".join(map(repr, arguments))[:2000]))
            return cli.run(arguments)

        ended = forked(work, folder, signals)
        wrong = fault(ended, folder, before, [number for _, number in signals])
        if kind.stopped and not wrong and any(folder.glob("runs/*/*/*/config.yaml")):
            ended, wrong = self._resumed(ended, folder, before)
        command = json.loads(noted.read_text()) if noted.exists() else "(none)"
        shutil.rmtree(folder.parent)
        end = "went wrong" if wrong else {0: "done", 2: "refused"}.get(ended.code or 0, "stopped")
        return Tried(number, kind.name, command, wrong, end, ended.out[-4000:], ended.err[-4000:])

    def _resumed(self, ended: Ended, folder: Path, before: int) -> tuple[Ended, str]:
        """Go on with a run that was stopped, unless it had ended; what came of both."""
        if any(folder.glob("runs/*/*/*/finished.json")):
            return ended, ""
        line = ["fit", "--method", self.method, "--resume"]
        again = forked(lambda: cli.run(line), folder)
        wrong = fault(again, folder, before)
        if not wrong and not any(folder.glob("runs/*/*/*/finished.json")):
            wrong = "resumed, and not finished"
        if not wrong and list(folder.glob("runs/*/*/*/**/.draft-*")):
            wrong = "drafts are left"
        both = Ended(ended.code, ended.out + again.out, ended.err + again.err, again.peak)
        return both, wrong

    def run(self, method: str) -> tuple[Path, float]:
        """Return the finished run of a method, made when first asked for, and its seconds."""
        if method not in self.runs:
            folder = self.folder / "runs" / method
            folder.mkdir(parents=True)
            began = time.monotonic()
            ended = forked(lambda: cli.run(_fit(method)), folder)
            if ended.code != 0:
                raise RuntimeError(f"no run of '{method}': {ended.err}")
            (found,) = folder.glob("runs/*/*/*/config.yaml")
            self.runs[method] = found.parent, time.monotonic() - began
        return self.runs[method]


def config(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """Lines ``key=value`` for any key of any method."""
    spec = registry("methods").get(rng.choice(registry("methods").names()))
    keys = [item.name for item in declared(load(spec.config))]
    lines = []
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(keys)
        if rng.random() < 0.15:
            name = rng.choice(
                (mutations.damaged_text(rng, name), f"{name}.more", "." * 5000, "a." * 5000, "")
            )
        lines.append(rng.choice((f"{name}={mutations.text(rng)}",) * 9 + (name,)))
    preset = rng.choice((*spec.presets, *spec.presets, mutations.text(rng)))
    return ["fit", "--method", spec.name, "--preset", preset, "--print-config", *lines]


def yaml(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """A config file, damaged as text."""
    spec = registry("methods").get(rng.choice(registry("methods").names()))
    whole = preset_text(spec, rng.choice(list(spec.presets)))
    whole += explained_yaml(compose(spec, "check", None, []))
    lines = whole.splitlines(keepends=True)
    first = rng.randint(0, len(lines) - 1)
    part = "".join(lines[first : first + rng.randint(1, 40)])
    odd = (
        "[" * 50_000, "{a: " * 2000, "- " * 3000, "a: " * 500, "&a [*a, *a]\n" * 3,
        "k0: &k0 [x]\n" + "\n".join(f"k{i}: &k{i} [{f'*k{i - 1}, ' * 9}]" for i in range(1, 12)),
        mutations.text(rng), "preset: check\nmethod: other\n", "\ufeff" + part, "a:\n\t- b",
    )  # fmt: skip
    how = rng.random()
    given = whole if how < 0.6 else part
    text = rng.choice(odd) if how < 0.3 else mutations.damaged_text(rng, given)
    (folder / "config.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    return ["fit", "--method", spec.name, "--config", "config.yaml", "--print-config"]


def results(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """A row of any table, damaged as data or as text."""
    spec = registry("tables").get(rng.choice(registry("tables").names()))
    columns = [column.metric for column in spec.columns]
    values = {name: [rng.random() for _ in range(4)] for name in columns}
    values |= {f"{columns[0]}@yaw={x}": [0.1, 0.2, 0.3, 0.4] for x in (-20, 0, 20)}
    row = Result(
        spec.name, rng.choice(spec.rows), "runs/a/b/c", "heads", {"networks": {columns[0]: "x"}},
        [0, 1, 2, 5], values, {"measured": {"commit": "0123abc", "command": ["eval"]}, "seed": 0},
        {columns[-1]: Estimate(1.0, 0.1, 4)},
    ).to_json()  # fmt: skip
    other = {**row, "row": rng.choice(mutations.TEXTS), "run": rng.choice(mutations.TEXTS)}
    content = rng.choice((row, {"results": [row, other]}))
    odd = tuple(value for value in mutations.ODD if not isinstance(value, bytes))
    how = rng.random()
    if how < 0.5:  # else its odd names are all
        content = mutations.damaged_tree(rng, content, odd)
    text = json.dumps(content, skipkeys=True)
    if how > 0.8:
        text = mutations.damaged_text(rng, text)
    (folder / "in.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    if rng.random() < 0.3:
        return ["report", "--results", "in.json", "--out", "out.html"]
    form = rng.choice(("rich", "markdown", "latex", "csv", "json"))
    return ["compare", spec.name, "--results", "in.json", "--format", form, "--out", "out"]


def arguments(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """Any command with odd values for some of its options; none of them can lead to work."""
    words, function = rng.choice(list(_commands(cli.app)))
    hints = typing_extensions.get_type_hints(function, include_extras=True)
    line = list(words)
    for name, parameter in inspect.signature(function).parameters.items():
        needed = parameter.default is parameter.empty
        if not (needed or rng.random() < 0.4) or rng.random() < 0.05:
            continue
        option = isinstance(hints[name].__metadata__[0], OptionInfo)
        named = next((text for text in hints[name].__metadata__[0].param_decls or ()), None)
        value = mutations.text(rng, like="nowhere" if needed else "8")
        if isinstance(parameter.default, bool):
            line.append(named or _option(name))
        else:
            line += [named or _option(name), value] if option else [value]
    if rng.random() < 0.1:
        line.append(rng.choice(("--help", mutations.text(rng), "--" + mutations.text(rng))))
    return [*line, "--print-config"] if words == ["fit"] else line


def importers(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """An official file, damaged or hostile, for any importer."""
    canary = folder / "canary"
    whole = _official()
    content = rng.choice((*whole, *whole, mutations.hostile_pickle(rng, canary)))
    if rng.random() < 0.3:
        content = rng.choice(list(official_files.hostile(canary).values()))
    elif rng.random() < 0.3:
        tree = mutations.damaged_tree(rng, _rosinality(), (*mutations.ODD, *_tensors()))
        content = _saved(tree, zipped=rng.random() < 0.5)
    elif rng.random() < 0.7:
        content = mutations.damaged_bytes(rng, content)
    (folder / "in.pt").write_bytes(content)
    names = list(known("importer"))
    return ["import", "in.pt", "--as", rng.choice(names), "--out", "out"]


def checkpoints(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """The checkpoint of a run, damaged or hostile, that the run is to go on from."""
    method = campaign.method
    source, _ = campaign.run(method)
    run = folder / "runs" / method / "check" / "a"
    shutil.copytree(source, run)
    (run / "finished.json").unlink()
    file = run / "checkpoints" / "last.ckpt"
    how = rng.random()
    if how < 0.15:
        file.write_bytes(mutations.hostile_pickle(rng, folder / "canary", {"state_dict": {}}))
    elif how < 0.5:
        file.write_bytes(mutations.damaged_bytes(rng, file.read_bytes()))
    elif how < 0.85:
        content = read_everything(file)
        odd = (*mutations.ODD, *_tensors())
        file.write_bytes(_saved(mutations.damaged_tree(rng, content, odd), zipped=True))
    else:
        own = run / "config.yaml"
        own.write_text(mutations.damaged_text(rng, own.read_text()), errors="surrogateescape")
    return ["fit", "--method", method, "--resume", "--run", str(run.relative_to(folder))]


def pictures(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """A damaged picture, or several, for a command that reads them."""
    stream = io.BytesIO()
    mode = rng.choice(("RGB", "RGBA", "L", "P", "I;16", "1", "LA", "CMYK"))
    form = "TIFF" if mode == "CMYK" else rng.choice(("PNG", "TIFF"))
    if mode in ("RGB", "L") and rng.random() < 0.6:
        form = rng.choice(("JPEG", "WEBP", "GIF", "BMP"))
    Image.new(mode, (rng.randint(1, 40), rng.randint(1, 40))).save(stream, form)
    content = stream.getvalue()
    if rng.random() < 0.8:
        content = mutations.damaged_bytes(rng, content)
    name = rng.choice(("a.png", "a.jpg", "a", "a.txt", "a\x1b[2J.png", "é #1.tif"))
    (folder / name).write_bytes(content)
    end = ["--steps", "1", "--align", "none", "--device", "cpu", "--out", "out"]
    return ["invert", rng.choice((name, ".")), "--teacher", "random-16", *end]


def views(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """The annotated views of StyleGAN-R, damaged; without masks nothing is trained."""
    lines = [f"  {number}: {rng.choice(('skip', '0', '90', '330'))}" for number in range(6)]
    whole = "\n".join(("teacher: random-16", "views:", *lines)) + "\n"
    text = mutations.text(rng) if rng.random() < 0.1 else mutations.damaged_text(rng, whole)
    (folder / "views.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    return [*_fit("stylegan-r"), "views=views.yaml", "masks=nowhere"]


def stopped(campaign: Campaign, rng: Random, folder: Path) -> list[str]:
    """A run that gets signals, and must go on to its end when resumed."""
    return _fit(campaign.method)


@dataclass(frozen=True)
class Kind:
    """A kind of tries.

    Attributes:
        prepare: makes the files and returns the command.
        weight: how often it is drawn.
        trained: whether it needs a method's run.
        stopped: whether it gets signals, and is resumed afterwards.
    """

    prepare: Callable[[Campaign, Random, Path], list[str]]
    weight: float
    trained: bool = False
    stopped: bool = False

    @property
    def name(self) -> str:
        return self.prepare.__name__


KINDS = (
    Kind(config, 25),
    Kind(yaml, 15),
    Kind(results, 20),
    Kind(arguments, 20),
    Kind(importers, 10),
    Kind(checkpoints, 5, trained=True),
    Kind(pictures, 3),
    Kind(views, 2),
    Kind(stopped, 2, trained=True, stopped=True),
)


def _fit(method: str) -> list[str]:
    return ["fit", "--method", method, "--preset", "check", *QUICK]


def _signals(rng: Random, whole: float) -> list[tuple[float, int]]:
    """One or two signals at any time of a run that takes `whole` seconds."""
    number = rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    first = rng.uniform(0, whole)
    return [(first, number)] + ([(first + 0.2, number)] if rng.random() < 0.3 else [])


def _peak() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _commands(app: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__
        if name not in NOT_TRIED:
            yield [*before, name], info.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, (*before, str(group.name)))


@functools.cache
def _rosinality() -> dict[str, Any]:
    return official_files.rosinality()


@functools.cache
def _official() -> tuple[bytes, ...]:
    return official_files.PICKLE.read_bytes(), official_files.torch_bytes(_rosinality())


def _tensors() -> tuple[torch.Tensor, ...]:
    return (
        torch.zeros(0), torch.full((2, 3), float("nan")), torch.zeros(3, dtype=torch.complex64),
        torch.zeros(4, 4).to_sparse(), torch.zeros(1).expand(2**40), torch.ones(1, 1, 1, 1, 1),
        torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8),
        torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.bfloat16),
        torch.zeros(3, device="meta"),
    )  # fmt: skip


def _saved(content: Any, zipped: bool) -> bytes:
    stream = io.BytesIO()
    try:
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    except Exception:  # of what torch cannot save; pickle can
        return pickle.dumps(repr(content))
    return stream.getvalue()
