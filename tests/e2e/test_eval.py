"""`fit` and `eval` of table `shape` as a user runs them."""

import json
from pathlib import Path

import pytest

from gan3d_bench.benchmarks.shape.spec import SPEC


@pytest.fixture(autouse=True)
def heads_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "heads"))


def test_a_run_becomes_a_row(cli):
    assert cli("fit", "--method", "supervised", "--preset", "check", "steps=2").code == 0
    (run,) = Path("runs/supervised/check").iterdir()
    shown = cli("eval", "--table", "shape", "--samples", 2, "--out", "results")
    assert shown.code == 0, shown.err
    assert "0.419†" in shown.out
    assert "2.723†" in shown.out

    table = json.loads(Path("results/shape.json").read_text())
    assert [row["row"] for row in table["rows"]] == list(SPEC.rows)
    rows = {row["row"]: row for row in table["rows"]}
    assert table["items"] == [0, 1]
    assert rows["Supervised"]["run"] == str(run)
    measured = [name for name, row in rows.items() if row["side"]["measured"]]
    assert measured == [
        "True depth",
        "Supervised",
        "Constant depth",
        "Average ground-truth depth",
        "Average ground-truth depth, subject only",
        "Ellipsoid, true view",
        "Mean head, true view",
    ]
    assert rows["Supervised"]["lead_others"]["measured"]["count"] == 2
    assert table["protocol"]["version"] == SPEC.version
    assert rows["Constant depth"]["mad"]["measured"]["count"] == 2
    assert rows["Unsup3D, symmetric"]["note"] == "reported only"
    assert rows["GAN2Shape, symmetric"]["note"] == "no run of 'gan2shape' given"
    for suffix in ("md", "tex", "csv"):
        assert "Average ground-truth depth" in Path(f"results/shape.{suffix}").read_text()
    assert (run / "tables" / "shape.supervised.row.json").is_file()

    # the stored table, put beside a table without runs, gives the same rows
    again = cli("eval", "--table", "shape", "--samples", 1, "--method", "supervised",
                "--results", "results/shape.json", "--out", "again")  # fmt: skip
    assert again.code == 0, again.err
    rows = json.loads(Path("again/shape.json").read_text())["rows"]
    assert [row["row"] for row in rows][1:3] == ["Supervised", "Supervised"]


def test_results_of_another_protocol_are_refused(cli):
    assert cli("eval", "--table", "shape", "--samples", 1, "--out", "one").code == 0
    table = json.loads(Path("one/shape.json").read_text())
    table["results"] = table["results"][:1]
    table["results"][0]["protocol"]["image_size"] = 128
    Path("other.json").write_text(json.dumps(table))
    refused = cli("eval", "--table", "shape", "--samples", 1, "--results", "other.json")
    assert refused.code == 2
    assert "image_size=128" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "shap"], "did you mean 'shape'"),
        (["--table", "shape", "--samples", "0"], "--samples 0"),
        (["--table", "shape", "--run", "nowhere"], "nowhere: not a run folder"),
        (["--table", "shape", "--method", "supervised"], "no finished run"),
        (["--table", "shape", "--results", "damaged.json"], "not stored results"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    Path("damaged.json").write_text('{"results": [1')
    refused = cli("eval", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_a_missing_asset_is_named_with_the_command_before_work_starts(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "empty"))
    shown = cli("eval", "--table", "novel-view", "--samples", 1, "--out", "out")
    assert shown.code == 2
    assert "gan3d-bench assets fetch arcface-mbf" in shown.err
    assert not Path("out/novel-view.json").exists()
    assert not list((tmp_path / "empty").rglob("heads*"))


def test_a_run_without_a_checkpoint_or_of_another_method_is_refused(cli):
    assert cli("fit", "--method", "supervised", "--preset", "check", "steps=2").code == 0
    (run,) = Path("runs/supervised/check").iterdir()
    shown = cli("eval", "--table", "fid", "--run", run, "--samples", 2)
    assert shown.code == 2
    assert "a run of 'supervised' has no row in table 'fid'" in shown.err
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    shown = cli("eval", "--table", "shape", "--run", run, "--samples", 1, "--out", "out")
    assert shown.code == 2
    assert "checkpoint" in shown.err and len(shown.err.strip().splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("table", "network", "message"),
    [
        ("novel-view", "identity", "expected METRIC=NAME"),
        ("novel-view", "identiy=a.onnx", "did you mean 'identity'"),
        ("novel-view", "identity=nowhere/a.onnx", "nowhere/a.onnx"),
        ("relight", "lpips=alexx", "did you mean 'alex'"),
        ("shape", "lpips=vgg", "unknown network of table 'shape' 'lpips'"),
    ],
)
def test_wrong_networks_are_one_line(cli, table, network, message):
    shown = cli("eval", "--table", table, "--samples", 1, "--network", network, "--out", "out")
    assert shown.code == 2
    assert message in shown.err and len(shown.err.strip().splitlines()) == 1
    assert not Path("out").exists()
