"""What the plug-in brings, before any of its heavy code is imported."""

from __future__ import annotations

from gan3d_bench.spec import (
    RECONSTRUCT,
    SAMPLE,
    Capability,
    Column,
    DataModuleSpec,
    GeneratorSpec,
    Importer,
    MethodSpec,
    Reported,
    TableSpec,
)

CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "albedo", "relight", "mesh"})
METHOD = MethodSpec(
    name="toy",
    title="Discs of one colour at one depth",
    paper="none",
    module="toy_plugin.method:Toy",
    config="toy_plugin.config:ToyConfig",
    presets={
        "discs": "seconds on a CPU",
        "check": "a few steps, for `gan3d-bench check`",
    },
    default_preset="discs",
    scenes={SAMPLE: CAPABILITIES, RECONSTRUCT: CAPABILITIES},
    status="a toy",
    reported=(Reported("toy-depth", "Toy", "error", 0.0, "made up"),),
    rows=lambda table, config: {"Toy": RECONSTRUCT} if table == "toy-depth" else {},
)
DATA = DataModuleSpec(
    name="toy-discs",
    title="Discs on black; brighter is nearer",
    module="toy_plugin.data:Discs",
    gives=("image", "depth"),
)
TABLE = TableSpec(
    name="toy-depth",
    title="Depth of discs",
    columns=(Column("error", "Mean absolute error", "scene units"),),
    rows=("Depth one", "Toy"),
    measure="toy_plugin.table:DepthError",
    protocol="Depth of discs against the truth, mean absolute error.",
)
GENERATOR = GeneratorSpec(
    name="toy-generator",
    title="Discs from latents",
    loader="toy_plugin.generator:load",
    importer=Importer(
        "toy_plugin.generator:import_file",
        files=".txt with the mean brightness of discs",
        method="gan2shape",
        setting="teacher=toy-generator:{folder}",
    ),
)
