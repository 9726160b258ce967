"""Light descriptions of methods, tables, datamodules and generators.

Reading a spec imports no torch, so ``list``, ``--help`` and the papers' rows of a table are
instant. The heavy code is named by an import path (``"package.module:Attribute"``) and loaded by
:func:`load` when a command runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Capability = Literal["depth", "normal", "albedo", "relight", "mesh"]
SAMPLE, RECONSTRUCT = "sample", "reconstruct"
"""The kinds of scene that `Method.sample` and `Method.reconstruct` give."""


@dataclass(frozen=True)
class Reported:
    """One number of a paper: `value` of `metric` for `row` of our `table`, and where it stands.

    `count` is the paper's number of test items, 0 where it does not say.
    """

    table: str
    row: str
    metric: str
    value: float
    source: str
    count: int = 0


@dataclass(frozen=True)
class Photographs:
    """How a method that is fitted to its images is fitted to photographs of faces.

    Attributes:
        preset: for them, unless the user names another.
        overrides: ``key=value`` with ``{folder}`` of the aligned photographs, PNG files cut as
            FFHQ's, and their ``{count}``.
    """

    preset: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Importer:
    """How official checkpoints become a folder of ours: ``gan3d-bench import FILE --as NAME``.

    Attributes:
        function: import path of ``import_file(source: Path, folder: Path) -> dict``. It makes
            `folder`, writes its files there, and returns facts for ``card.json``, plain values:
            "origin", the repository whose format it was, and "parameters", a network's name ->
            their number or None for one that is missing, are required; "image_size" in pixels and
            "w_mean", where the mean of w comes from, are shown if they are there. It runs nothing
            of the file's. For a damaged or foreign file it raises a `UserError` that leaves it to
            the caller to name the file.
        files: which files it reads, in words.
        method, setting: a method that takes the folder, and the ``key=value`` by which it does,
            ``{folder}`` in it; "" where none does.
    """

    function: str
    files: str
    method: str = ""
    setting: str = ""


@dataclass(frozen=True)
class Exporter:
    """How a folder of ours becomes an official checkpoint: ``gan3d-bench export DIR FILE``.

    Attributes:
        function: import path of ``export_folder(folder: Path) -> (content, notes)``: what
            ``torch.save`` is to write, and lines for the user on what the format leaves out. For a
            folder that it cannot export it raises a `UserError` that names the folder.
        files: which file it writes, in words.
        needs: name of a file that the folder must have.
    """

    function: str
    files: str
    needs: str


@dataclass(frozen=True)
class MethodSpec:
    """What a method is, before any of its code is imported.

    Attributes:
        name: CLI name, lower case with dashes.
        title: one line for lists.
        paper: citation of the paper the method implements.
        module: import path of the `Method` subclass (``"package.module:Class"``).
        config: import path of its `RunConfig` subclass.
        presets: preset name -> when to use it. The YAML files lie in ``presets/`` beside the
            config's module, one per name.
        default_preset: preset used when none is given.
        scenes: the kinds of scene it gives, and what scenes of each can do: `SAMPLE`,
            `RECONSTRUCT`, and kinds of its own that `Method.row_scene` knows. A row of a table
            needs a kind that can do what the table measures. Empty for methods without scenes.
        needs: things a user must have (teacher, assets), in words.
        assets: names of registered assets the default preset needs.
        licence: licence of the method's code and of what it ships.
        status: reproduction status, one honest line.
        reported: the paper's own numbers, by row of our tables.
        rows: maps (table name, resolved run config as plain dict) to the rows the run fills there
            and the kind of scene (of `scenes`) that fills each. Empty when the run does not belong
            in that table. Imports no torch.
        photographs: for `gan3d-bench reconstruct`; None for methods whose trained runs take any
            image, and for those that only sample.
        importer, exporter: of the official implementation's checkpoints, under the method's name.
    """

    name: str
    title: str
    paper: str
    module: str
    config: str
    presets: Mapping[str, str]
    default_preset: str
    scenes: Mapping[str, frozenset[Capability]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    licence: str = "MIT"
    status: str = ""
    reported: tuple[Reported, ...] = ()
    rows: Callable[[str, Mapping[str, Any]], Mapping[str, str]] = field(
        default=lambda table, config: {}
    )
    photographs: Photographs | None = None
    importer: Importer | None = None
    exporter: Exporter | None = None

    @property
    def samples(self) -> bool:
        """Whether the method draws subjects by itself."""
        return SAMPLE in self.scenes

    @property
    def reconstructs(self) -> bool:
        """Whether the method lifts images."""
        return RECONSTRUCT in self.scenes


@dataclass(frozen=True)
class DataModuleSpec:
    """A named source of data.

    Attributes:
        name: CLI name.
        title: one line for lists.
        module: import path of its `datamodules.base.DataModule`.
        gives: keys that every item has, see `datamodules.specs.KEYS`.
        path: what the path that it is opened with must lead to, in words; "" if it takes none.
    """

    name: str
    title: str
    module: str
    gives: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True)
class Pretrained:
    """A teacher that has a name.

    Attributes:
        asset: what it reads.
        options: further arguments of the loader.
        directions: asset with the directions of its W space (`generators.directions`), if any.
    """

    asset: str
    options: Mapping[str, Any] = field(default_factory=dict)
    directions: str = ""


@dataclass(frozen=True)
class GeneratorSpec:
    """A family of teachers.

    Attributes:
        name: CLI name; ``teacher=NAME:PATH`` loads a file or folder of this family.
        title: one line for lists.
        loader: import path of ``load(path, image_size, **options)``, which returns the generator
            (`generators.base.Generator`) and its discriminator or None, in evaluation mode and
            without gradients to their weights. `image_size` is what the method works at, for
            families that can make small images cheaply; others take no notice of it.
        teachers: the pre-trained ones by name.
        importer, exporter: of official checkpoints of this family, under its name.
    """

    name: str
    title: str
    loader: str
    teachers: Mapping[str, Pretrained] = field(default_factory=dict)
    importer: Importer | None = None
    exporter: Exporter | None = None


@dataclass(frozen=True)
class Column:
    """A metric of a table: its key, heading, unit, and direction.

    Attributes:
        network: which a metric is defined with, if any. Measured with another one, the column is
            headed by that one's name.
        difference: the metric is a difference of two scores on the same item: it counts from two
            standard errors above zero, and rows do not race in it.
    """

    metric: str
    heading: str
    unit: str = ""
    higher_is_better: bool = False
    digits: int = 3
    network: str = ""
    difference: bool = False


@dataclass(frozen=True)
class TableSpec:
    """A benchmark table: what is measured on what, and the rows no method owns.

    Attributes:
        name: CLI name.
        title: caption.
        columns: the metrics.
        rows: row names in printing order (methods' rows included).
        measure: import path of the `Measure` subclass that fills rows (`benchmarks/measure.py`);
            "" for a table that shows the papers' numbers only, as `protocol` then explains.
        reported: papers' numbers of rows that no method's spec carries (baselines).
        protocol: one paragraph: data, samples, views, masks, networks.
        assets: registered assets that measuring needs; results state their hashes.
        bounds: rows that show what can be reached at best, such as the truth itself; never marked
            as the best.
        samples: number of test items that published tables have.
        versions: what was new in each version of what is measured, in one line. A change that
            makes numbers differ adds a line; results of an older version are refused with the
            lines since.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    measure: str
    protocol: str
    reported: tuple[Reported, ...] = ()
    assets: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    samples: int = 100
    versions: tuple[str, ...] = ("first",)

    @property
    def version(self) -> int:
        """The current version, from 1."""
        return len(self.versions)


def load(path: str) -> Any:
    """Import ``"package.module:Attribute"`` and return the attribute.

    Raises:
        ImportError: the module cannot be imported.
        AttributeError: the module has no such attribute.
    """
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
