"""Names -> specs of methods, datamodules, tables and generators. Imports no torch.

The suite's own are listed here by import path; third-party packages join by entry point::

    [project.entry-points."gan3d_bench.methods"]
    my-method = "my_package.spec:SPEC"

Groups: ``gan3d_bench.methods``, ``.datamodules``, ``.tables``, ``.generators``. A plug-in that
fails to import, whatever it raises, whose spec has a field of the wrong type, or that takes a name
already in use, is kept out and listed with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gan3d_bench.errors import UserError, reason, unknown_name
from gan3d_bench.spec import DataModuleSpec, GeneratorSpec, MethodSpec, TableSpec, load
from gan3d_bench.spec_types import require_types

BUILTIN: dict[str, dict[str, str]] = {
    "methods": {
        "gan2shape": "gan3d_bench.methods.gan2shape.spec:SPEC",
        "liftedgan": "gan3d_bench.methods.liftedgan.spec:SPEC",
        "idnet": "gan3d_bench.methods.idnet.spec:SPEC",
        "stylegan2": "gan3d_bench.methods.stylegan2.spec:SPEC",
        "eg3d": "gan3d_bench.methods.eg3d.spec:SPEC",
        "mm-fit": "gan3d_bench.methods.mm_fit.spec:SPEC",
        "supervised": "gan3d_bench.methods.supervised.spec:SPEC",
        "wtri": "gan3d_bench.methods.wtri.spec:SPEC",
        "uv3dmm": "gan3d_bench.methods.uv3dmm.spec:SPEC",
        "stylegan-r": "gan3d_bench.methods.stylegan_r.spec:SPEC",
    },
    "datamodules": {
        "heads": "gan3d_bench.datamodules.specs:HEADS",
        "heads-360": "gan3d_bench.datamodules.specs:HEADS_360",
        "cars": "gan3d_bench.datamodules.specs:CARS",
        "synface": "gan3d_bench.datamodules.specs:SYNFACE",
        "images": "gan3d_bench.datamodules.specs:IMAGES",
    },
    "tables": {
        "shape": "gan3d_bench.benchmarks.shape.spec:SPEC",
        "shape-synface": "gan3d_bench.benchmarks.shape.spec:SYNFACE",
        "novel-view": "gan3d_bench.benchmarks.novel_view.spec:SPEC",
        "relight": "gan3d_bench.benchmarks.relight.spec:SPEC",
        "intrinsics": "gan3d_bench.benchmarks.intrinsics.spec:SPEC",
        "identity-rotation": "gan3d_bench.benchmarks.identity_rotation.spec:SPEC",
        "identity-rotation-ffhq": "gan3d_bench.benchmarks.identity_rotation.spec:FACES",
        "dataset-size": "gan3d_bench.benchmarks.dataset_size.spec:SPEC",
        "fid": "gan3d_bench.benchmarks.fid.spec:SPEC",
        "depth-pose": "gan3d_bench.benchmarks.depth_pose.spec:SPEC",
        "depth-pose-ffhq": "gan3d_bench.benchmarks.depth_pose.spec:FACES",
        "inversion": "gan3d_bench.benchmarks.inversion.spec:SPEC",
        "iou": "gan3d_bench.benchmarks.iou.spec:SPEC",
        "novel-view-cars": "gan3d_bench.benchmarks.novel_view_cars.spec:SPEC",
        "swap": "gan3d_bench.benchmarks.swap.spec:SPEC",
        "annotation": "gan3d_bench.benchmarks.annotation.spec:SPEC",
        "camera-init": "gan3d_bench.benchmarks.camera_init.spec:SPEC",
        "user-study": "gan3d_bench.benchmarks.user_study.spec:SPEC",
    },
    "generators": {
        "stylegan2": "gan3d_bench.generators.specs:STYLEGAN2",
        "mobilestylegan": "gan3d_bench.generators.specs:MOBILESTYLEGAN",
        "eg3d": "gan3d_bench.generators.specs:EG3D",
    },
}
SPEC_TYPES: dict[str, type] = {
    "methods": MethodSpec,
    "datamodules": DataModuleSpec,
    "tables": TableSpec,
    "generators": GeneratorSpec,
}


@dataclass
class Registry:
    """The specs of one kind, and the ones kept out with the reason."""

    kind: str
    specs: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, loader: Callable[[], Any], owner: str) -> None:
        """Load a spec and keep it, or note why it is kept out."""
        if name in self.specs:
            self.broken[f"{name} ({owner})"] = "its name is already taken"
            return
        try:
            spec = loader()
            expected = SPEC_TYPES[self.kind]
            if not isinstance(spec, expected):
                raise TypeError(f"expected a {expected.__name__}, got {type(spec).__name__}")
            require_types(spec)
            if spec.name != name:
                raise ValueError(f"its spec is called '{spec.name}'")
        except BaseException as error:  # a plug-in may fail in any way, and leave in any way
            self.broken[name] = f"{reason(error)} ({owner})"
        else:
            self.specs[name] = spec

    def get(self, name: str) -> Any:
        """Return the spec called `name`.

        Raises:
            UserError: no such name; the message holds the nearest one, or why the plug-in of
                that name could not be loaded.
        """
        if name in self.specs:
            return self.specs[name]
        noun = self.kind.removesuffix("s")
        if name in self.broken:
            raise UserError(f"{noun} '{name}' could not be loaded: {self.broken[name]}")
        raise unknown_name(noun, name, self.specs)

    def names(self) -> list[str]:
        return sorted(self.specs)


@functools.cache
def registry(kind: str) -> Registry:
    """Return the registry of `kind`: methods, datamodules, tables or generators."""
    result = Registry(kind)
    for name, path in BUILTIN[kind].items():
        result.add(name, partial(load, path), "gan3d-bench")
    for point in plug_ins(kind, result.broken):
        result.add(point.name, point.load, point.dist.name if point.dist else point.value)
    return result


def plug_ins(kind: str, broken: dict[str, str]) -> list[EntryPoint]:
    """Return the entry points of a kind; if they cannot be read, none, and why into `broken`."""
    try:
        return list(entry_points(group=f"gan3d_bench.{kind}"))
    except Exception as error:  # of damaged metadata of any installed package
        broken["entry points"] = reason(error)
        return []
