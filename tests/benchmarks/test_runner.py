"""Filling a table: what is stored, what is refused, and two processes against one."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.multiprocessing as mp

from gan3d_bench.benchmarks import runner
from gan3d_bench.benchmarks.formats import render
from gan3d_bench.benchmarks.measure import Measure
from gan3d_bench.benchmarks.results import Estimate, load_results
from gan3d_bench.config import RunConfig
from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.spec import RECONSTRUCT, Column, MethodSpec, Reported, TableSpec

TABLE = TableSpec(
    name="toy",
    title="Toys",
    columns=(Column("error", "Error"),),
    rows=("Zero", "Ours", "Theirs"),
    measure="toy",
    protocol="All toys are equal.",
    reported=(Reported("toy", "Theirs", "error", 0.25, "Paper, Table 1"),),
    assets=("heads",),
)
SPEC = MethodSpec(
    name="ours",
    title="Ours",
    paper="none",
    module="toy",
    config="toy",
    presets={"p": "always"},
    default_preset="p",
    scenes={RECONSTRUCT: frozenset({"depth"})},
    rows=lambda table, config: {"Ours": RECONSTRUCT} if table == "toy" else {},
)


class Toy(Measure):
    requires = frozenset({"depth"})
    baselines = ("Zero",)
    data = "toys, test"

    def protocol(self):
        return {"size": 64}

    def items(self):
        return list(range(self.settings.samples))

    def method(self, method, kind, items):
        if 13 in items:
            raise UserError("item 13 is damaged")
        return {"error": [method.scale / (1 + item) for item in items]}

    def baseline(self, row, items):
        return {"error": [float(item) for item in items]}


class Ours(Method):
    def __init__(self, own=None):
        super().__init__(RunConfig(method="ours", preset="p"))
        self.scale, self.own = 0.1, own

    def items(self):
        return self.own


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(runner, "load", lambda path: Toy)
    monkeypatch.setattr(runner, "load_method", lambda run: Ours(run.own))


def a_run(folder: Path, own=None, spec: MethodSpec = SPEC):
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"weights")
    return SimpleNamespace(
        path=folder,
        tables=folder / "tables",
        spec=spec,
        config=RunConfig(method="ours", preset="p", seed=3),
        checkpoint=folder / "last.ckpt",
        environment={"commit": "abc"},
        own=own,
        setup="0" * 64,
        whole=None,
    )


def evaluate(runs, root, samples=4, **others):
    return runner.evaluate(TABLE, runs, samples=samples, runs_root=root, batch_size=2, **others)


def test_every_row_is_stored_with_where_it_came_from(toy, tmp_path):
    run = a_run(tmp_path / "runs" / "ours")
    table = evaluate([run], tmp_path / "runs", out=tmp_path / "out")
    (ours,) = load_results(run.path / "tables" / "toy.ours.row.json")
    (zero,) = load_results(tmp_path / "runs" / "tables" / "toy.zero.row.json")
    assert ours.values["error"] == [0.1, 0.05, 0.1 / 3, 0.025]
    assert zero.values["error"] == [0.0, 1.0, 2.0, 3.0]
    facts = ours.provenance
    assert (facts["method"], facts["preset"], facts["seed"]) == ("ours", "p", 3)
    assert len(facts["config_sha256"]) == len(facts["checkpoint_sha256"]) == 64
    assert facts["trained"]["commit"] == "abc"
    assert facts["measured"]["assets"] == {"heads": runner.environment.asset_hash("heads")}
    assert facts["measured"]["assets"]["heads"]
    assert {"time", "commit", "gan3d_bench", "machine", "seconds"} <= set(facts["measured"])
    assert [line.row for line in table.lines] == ["Zero", "Ours", "Theirs"]
    assert table.lines[2].note == "reported only"
    assert (tmp_path / "out" / "toy.md").read_text() == render(table, "markdown")


def test_folders_of_runs_are_looked_into_before_work(toy, tmp_path, monkeypatch):
    seen = []

    def look(self, run):
        seen.append(run.path.name)
        if run.path.name == "c":
            raise UserError("c lacks something")

    monkeypatch.setattr(Toy, "open", look)
    runs = [a_run(tmp_path / name) for name in ("a", "b")]
    evaluate(runs, tmp_path)
    assert seen == ["a", "b", "a", "b"]
    monkeypatch.setattr(runner, "load_method", lambda run: 1 / 0)
    with pytest.raises(UserError, match="c lacks something"):
        evaluate([*runs, a_run(tmp_path / "c")], tmp_path)


def test_no_path_of_the_machine_is_published(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate([a_run(tmp_path / "runs" / "ours")], Path("runs"), out=Path("out"))
    for file in Path("out").iterdir():
        assert str(tmp_path) not in file.read_text()
    assert json.loads(Path("out/toy.json").read_text())["rows"][1]["run"] == "runs/ours"


def test_a_run_of_some_items_brings_the_table_down_to_those(toy, tmp_path):
    runs = [a_run(tmp_path / "a", own=[1, 2, 9]), a_run(tmp_path / "b")]
    table = evaluate(runs, tmp_path)
    assert list(table.items) == [1, 2]
    assert [line.count for line in table.lines] == [2, 2, 2, 0]
    assert table.lines[0].cells["error"].measured.mean == 1.5


def test_a_run_without_any_of_the_items_is_refused(toy, tmp_path):
    with pytest.raises(UserError, match=r"fitted to test items \[8, 9\], none of the first 4"):
        evaluate([a_run(tmp_path / "a", own=[8, 9])], tmp_path)


def test_runs_are_refused_before_any_work(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "load_method", lambda run: pytest.fail("work has started"))
    blind = replace(SPEC, scenes={RECONSTRUCT: frozenset()})
    with pytest.raises(UserError, match="'reconstruct' of method 'ours' cannot give depth"):
        evaluate([a_run(tmp_path / "a", spec=blind)], tmp_path)
    without = replace(SPEC, scenes={"sample": frozenset({"depth"})})
    with pytest.raises(UserError, match=r"needs a scene of kind 'reconstruct'.*gives: sample"):
        evaluate([a_run(tmp_path / "c", spec=without)], tmp_path)
    elsewhere = replace(SPEC, rows=lambda table, config: {})
    with pytest.raises(UserError, match="has no row in table 'toy'"):
        evaluate([a_run(tmp_path / "b", spec=elsewhere)], tmp_path)
    assert not (tmp_path / "tables").exists()


def test_stored_rows_stand_beside_new_ones(toy, tmp_path):
    evaluate([a_run(tmp_path / "a")], tmp_path, out=tmp_path / "out")
    table = evaluate([], tmp_path, results=[tmp_path / "out" / "toy.json"])
    assert [line.row for line in table.lines if line.count] == ["Zero", "Ours"]


def test_stored_rows_of_another_protocol_are_refused(toy, tmp_path, monkeypatch):
    evaluate([a_run(tmp_path / "a")], tmp_path)
    monkeypatch.setattr(Toy, "protocol", lambda self: {"size": 128})
    with pytest.raises(UserError, match=r"size=64.*size=128"):
        evaluate([], tmp_path, results=[tmp_path / "a" / "tables" / "toy.ours.row.json"])


def _process(rank: int, folder: str, port: int, samples: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    run = a_run(Path(folder) / f"checkpoint{rank}")
    run.path = Path(folder) / "run0"
    run.tables = run.path / "tables"
    try:
        table = evaluate([run], Path(folder), samples=samples, out=Path(folder) / "out")
        text = render(table, "csv")
    except UserError as error:
        text = str(error)
    (Path(folder) / f"{rank}.txt").write_text(text)


def _two_processes(folder: Path, samples: int) -> list[str]:
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (str(folder), port, samples)
    # forked, as DataLoader's workers are: a test module cannot be imported by a spawned process
    mp.start_processes(_process, arguments, nprocs=2, start_method="fork")
    return [(folder / f"{rank}.txt").read_text() for rank in (0, 1)]


def test_two_processes_give_the_table_of_one(toy, tmp_path):
    alone = tmp_path / "one"
    expected = render(evaluate([a_run(alone / "run0")], alone, samples=7), "csv")
    first, second = _two_processes(tmp_path / "two", 7)
    assert first == second == expected
    (row,) = load_results(tmp_path / "two" / "run0" / "tables" / "toy.ours.row.json")
    assert list(row.items) == list(range(7))


def test_an_error_of_one_process_ends_all(toy, tmp_path):
    assert _two_processes(tmp_path / "two", 16) == ["item 13 is damaged"] * 2


def test_a_stored_row_is_not_measured_again_unless_something_changed(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(runner.environment, "commit", lambda: "abc")
    run = a_run(tmp_path / "a")
    calls: list[list[int]] = []
    measure = Toy.method

    def counted(self, method, kind, items):
        calls.append(list(items))
        return measure(self, method, kind, items)

    monkeypatch.setattr(Toy, "method", counted)
    first = evaluate([run], tmp_path)
    assert len(calls) == 2
    again = evaluate([run], tmp_path)
    assert len(calls) == 2
    assert again.results[0].values == first.results[0].values
    evaluate([run], tmp_path, fresh=True)
    assert len(calls) == 4
    evaluate([run], tmp_path, samples=3)
    assert len(calls) == 6
    (run.path / "last.ckpt").write_bytes(b"trained on")
    evaluate([run], tmp_path, samples=3)
    assert len(calls) == 8
    (run.path / "tables" / "toy.ours.row.json").write_text("{")
    evaluate([run], tmp_path, samples=3)
    assert len(calls) == 10
    monkeypatch.setattr(runner.environment, "commit", lambda: "abd")
    evaluate([run], tmp_path, samples=3)
    assert len(calls) == 12


def test_one_run_fills_several_rows_each_by_its_kind_of_scene(toy, tmp_path, monkeypatch):
    both = replace(
        SPEC,
        scenes={**SPEC.scenes, "twice": frozenset({"depth"})},
        rows=lambda table, config: {"Ours": RECONSTRUCT, "Theirs": "twice"},
    )
    kinds: list[str] = []
    monkeypatch.setattr(
        Toy, "method", lambda self, method, kind, items: kinds.append(kind) or {"error": [1.0] * 2}
    )
    table = evaluate([a_run(tmp_path / "a", spec=both)], tmp_path)
    assert kinds == [RECONSTRUCT, RECONSTRUCT, "twice", "twice"]
    assert [line.row for line in table.lines if line.count] == ["Zero", "Ours", "Theirs"]
    assert (tmp_path / "a" / "tables" / "toy.theirs.row.json").is_file()


def test_rows_of_a_run_can_be_chosen(toy, tmp_path):
    both = replace(SPEC, rows=lambda table, config: {"Ours": RECONSTRUCT, "Theirs": RECONSTRUCT})
    runs = [a_run(tmp_path / "a", spec=both), a_run(tmp_path / "b")]
    table = evaluate(runs, tmp_path, only=["Theirs"])
    assert [line.row for line in table.lines if line.count] == ["Zero", "Theirs"]
    assert not (tmp_path / "a" / "tables" / "toy.ours.row.json").exists()
    assert not runs[1].tables.exists()


def test_a_row_that_no_run_fills_is_refused_by_name(toy, tmp_path):
    with pytest.raises(UserError, match=r"row of these runs 'Theirs'.*known: Ours"):
        evaluate([a_run(tmp_path / "a")], tmp_path, only=["Theirs"])


def test_batches_are_halved_while_memory_does_not_suffice():
    tried: list[int] = []

    def work(items):
        tried.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"error": [float(item) for item in items]}

    assert runner.measure_within_memory(work, range(5)) == {"error": [0.0, 1.0, 2.0, 3.0, 4.0]}
    assert tried == [5, 2, 3, 1, 2]

    def never(items):
        raise MemoryError

    with pytest.raises(UserError, match="out of memory on test item 3 alone"):
        runner.measure_within_memory(never, [3, 4])


def test_set_metrics_stand_beside_those_of_items(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "sets", lambda self: {"fid": Estimate(12.5, 0.25, 4)})
    spec = replace(TABLE, columns=(*TABLE.columns, Column("fid", "FID")))
    run = a_run(tmp_path / "a")
    table = runner.evaluate(spec, [run], samples=4, runs_root=tmp_path, out=tmp_path / "out")
    assert table.lines[1].cells["fid"].measured == Estimate(12.5, 0.25, 4)
    (stored,) = load_results(run.path / "tables" / "toy.ours.row.json")
    assert stored.sets == {"fid": Estimate(12.5, 0.25, 4)}
    # of all four items, so it says nothing about two of them
    assert stored.estimate("fid", [0, 1]) is None
    assert stored.estimate("fid", [0, 1, 2, 3]) == Estimate(12.5, 0.25, 4)


def test_a_network_other_than_the_columns_own_changes_its_heading(toy, tmp_path, monkeypatch):
    spec = replace(TABLE, columns=(Column("error", "Error", network="A"),))
    for network, heading in (("A", "| Error ↓ |"), ("B", "| Error [B] ↓ |")):
        protocol = {"networks": {"error": network}}
        monkeypatch.setattr(Toy, "protocol", lambda self, p=protocol: p)
        table = runner.evaluate(spec, [a_run(tmp_path / network)], samples=2, runs_root=tmp_path)
        assert heading in render(table, "markdown")
