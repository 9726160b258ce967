"""The page of `report`: what is in it, that nothing in it runs or is fetched, and how it looks.

The look is checked in headless Chromium where one is found (on the path, or named by
``CHROMIUM``).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_bench.benchmarks.results import Result, save_result
from gan3d_bench.benchmarks.stored import assemble, row_path
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.registry import registry
from gan3d_bench.report.curves import Curve, Point, Series, curves, draw, ticks
from gan3d_bench.report.showcase import MESHES, exhibit
from gan3d_bench.spec import Column, Reported, TableSpec

EVIL = "<img src=x onerror=\"document.title='hacked'\">"
SCRIPT = "</script><script>document.title='hacked'</script>"
TABLE = TableSpec(
    name="turned",
    title="Turned & <b>lit</b>",
    columns=(
        Column("psnr", "PSNR", unit="dB", higher_is_better=True, digits=2),
        Column("side", "SIDE", digits=3),
    ),
    rows=("Mirror", "Ours", "Theirs"),
    measure="none:None",
    protocol="All heads are equal.",
    reported=(Reported("turned", "Theirs", "psnr", 21.5, "Paper, Table 9"),),
)
LATER = replace(TABLE, name="later", title="Later", measure="", reported=())


def a_row(name, run, offset=0.0, **others):
    angles = (-40, -20, 0, 20, 40)
    values = {f"psnr@yaw={x}": [20 + offset - abs(x) / 10 + i for i in range(3)] for x in angles}
    values["psnr"] = [20.0 + offset, 21.0 + offset, 22.0 + offset]
    values["side"] = [0.5, 0.6, 0.7 + offset]
    provenance = {
        "measured": {"commit": "0123abc", "command": ["gan3d-bench", "eval", SCRIPT], "seconds": 3},
        "seed": 7,
        "networks": {"teacher": EVIL},
    }
    result = Result("turned", name, run, "heads, test", {"size": 64}, [0, 1, 2], values, provenance)
    return replace(result, **others)


def a_surface(textured: bool) -> SceneMesh:
    """One bumpy square: red left, blue right."""
    y, x = torch.meshgrid(torch.linspace(-0.1, 0.1, 9), torch.linspace(-0.1, 0.1, 9), indexing="ij")
    vertices = torch.stack((x, y, 1 - 0.3 * (0.02 - x**2 - y**2)), -1).reshape(-1, 3)
    corner = torch.arange(81).view(9, 9)[:-1, :-1].reshape(-1, 1)
    faces = torch.cat((corner + torch.tensor([0, 9, 1]), corner + torch.tensor([1, 9, 10])))
    colours = torch.where(
        x.reshape(-1, 1) < 0, torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
    )
    if textured:
        uvs = torch.stack((x, -y), -1).reshape(-1, 2) * 5 + 0.5
        texture = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
        texture = texture.repeat_interleave(8, 1)[:, None].expand(3, 16, 16)
        return SceneMesh(vertices=vertices, faces=faces, uvs=uvs, texture=texture)
    return SceneMesh(vertices=vertices, faces=faces, colors=colours)


def a_run(preset, row, face=90, textured=True):
    folder = Path("runs") / "toy" / preset / "2026-01-01_00-00-00"
    pictures = folder / "pictures" / "000010"
    pictures.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"method: toy\npreset: {json.dumps(preset)}\n")
    write_json(folder / "finished.json", {})
    Image.new("RGB", (64, 64), (face, 90, 120)).save(pictures / "input.png")
    Image.new("RGB", (640, 200), (200, face, 40)).save(pictures / "scene.png")
    for index in range(2):
        save_glb(a_surface(textured), pictures / f"mesh_{index:02d}.glb")
    result = replace(row, run=str(folder))
    save_result(result, row_path(folder / "tables", row.table, row.row))
    return folder


@pytest.fixture
def site(cli, monkeypatch):
    """Two runs on the same faces and a baseline, one with a name that must not run."""
    monkeypatch.setitem(registry("tables").specs, "turned", TABLE)
    monkeypatch.setitem(registry("tables").specs, "later", LATER)
    a_run("discs", a_row("Ours", "", 1.0))
    a_run(EVIL, a_row(SCRIPT, "", 0.5), textured=False)
    save_result(a_row("Mirror", "baseline"), row_path(Path("runs/tables"), "turned", "Mirror"))
    Image.new("RGB", (300, 100), (10, 200, 10)).save("runs/tables/turned.views.png")
    made = cli("report", "--out", "page/report.html")
    assert made.code == 0, made.err
    assert made.out == "page/report.html\n"
    return Path("page/report.html")


class Structure(HTMLParser):
    """Checks that elements are closed in order, and collects what matters."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and not {"script", "style"} & set(self.open):
            self.texts.append(data.strip())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_the_page_is_whole_and_needs_nothing_else(site):
    page = Structure(site.read_text())
    assert {image["src"].partition(",")[0] for image in page.all("img")} == {
        "data:image/jpeg;base64"
    }
    assert page.all("link") == [] and all("src" not in script for script in page.all("script"))
    addresses = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href")]
    assert all(address.startswith(("#", "data:image/")) for address in addresses)
    assert len([s for s in page.all("script") if s.get("class") == "mesh"]) == 4
    assert len(page.all("canvas")) == 2
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_names_are_text(site):
    text = site.read_text()
    assert EVIL not in text and SCRIPT not in text
    page = Structure(text)
    assert all("onerror" not in attrs for _, attrs in page.elements)
    assert len([script for script in page.all("script") if "class" not in script]) == 1
    assert any(SCRIPT in line for line in page.texts)


def test_tables_say_what_was_measured_reported_and_why_not(site):
    page = Structure(site.read_text())
    cells = [attrs for attrs in page.all("td") if "best" in attrs.get("class", "")]
    assert len(cells) == 1  # SIDE differs on one head only
    for expected in (
        "Turned & <b>lit</b>", "22.00 ± 0.58", "21.50†", "–", "reported only", "baseline",
        "Where each number comes from", "0123abc", "measured, commit", "seed", "7", "size", "64",
        "networks, teacher", EVIL, "PSNR (dB) ↑", "The same faces", "turned.views", "Later",
        "not measured yet", "yaw (degrees)",
    ):  # fmt: skip
        assert any(expected in line for line in page.texts), expected
    assert any("Paper, Table 9" in attrs.get("title", "") for attrs in page.all("td"))
    assert "\\toprule" in site.read_text()
    again = site.read_bytes()
    from gan3d_bench.cli import run

    assert run(["report", "--out", str(site)]) == 0
    assert site.read_bytes() == again


def test_runs_with_other_faces_stand_apart(cli, site):
    a_run("others", a_row("Others", ""), face=10)
    assert cli("report").code == 0
    titles = [
        text for text in Structure(Path("runs/report.html").read_text()).texts
        if text.startswith("toy, ") or text in ("The same faces", "Faces of its own")
    ][:5]  # fmt: skip
    both, alone = titles.index("The same faces"), titles.index("Faces of its own")
    assert set(titles[both : both + 3]) == {"The same faces", f"toy, {EVIL}", "toy, discs"}
    assert titles[alone : alone + 2] == ["Faces of its own", "toy, others"]


def test_without_rows_of_runs_the_tables_in_results_are_shown(cli, site):
    shutil.move("runs", "elsewhere")
    assert "no stored rows" in cli("report").err
    made = cli("report", "--results", "elsewhere/tables/turned.mirror.row.json")
    assert made.code == 0, made.err
    Path("results").mkdir()
    shutil.copy("elsewhere/tables/turned.mirror.row.json", "results/turned.json")
    shutil.copy("elsewhere/tables/turned.views.png", "results")
    Path("results/notes.json").write_text("[]")  # of no table
    Path("results/shape.json").write_text("[]")
    refused = cli("report")
    assert refused.code == 2 and "results/shape.json: not stored results" in refused.err
    compared = cli("compare", "turned", "--format", "csv")
    assert compared.code == 0 and '\nMirror,"heads, test",3' in compared.out
    Path("results/shape.json").unlink()
    made = cli("report")
    assert made.code == 0, made.err
    texts = Structure(Path("runs/report.html").read_text()).texts
    assert "Mirror" in texts and "turned.views" in texts
    # a row of any run comes before them
    save_result(a_row("Other", "baseline"), row_path(Path("runs/tables"), "turned", "Other"))
    assert cli("report").code == 0
    assert "Other" in Path("runs/report.html").read_text()


def test_what_cannot_be_shown_is_left_out_with_a_reason(toy):
    folder = a_run("discs", a_row("Ours", ""))
    pictures = folder / "pictures" / "000010"
    (pictures / "scene.png").write_bytes((pictures / "scene.png").read_bytes()[:60])
    whole = (pictures / "mesh_00.glb").read_bytes()
    (pictures / "mesh_01.glb").write_bytes(whole[:-4])
    for index in range(2, MESHES + 1):
        (pictures / f"mesh_{index:02d}.glb").write_bytes(whole)
    (folder / "pictures" / "000002").mkdir()  # an earlier step
    shown = exhibit(Run(folder))
    assert shown.grid is None
    assert [mesh.name for mesh in shown.meshes] == ["mesh_00", "mesh_02", "mesh_03"]
    assert base64.b64decode(shown.meshes[0].content) == whole
    reasons = "; ".join(shown.left_out)
    assert re.search(r"scene\.png' is not a readable image", reasons)
    assert "mesh_01.glb: not a whole binary glTF file" in reasons
    assert f"mesh_0{MESHES}.glb: more than {MESHES} meshes" in reasons


def test_a_huge_mesh_is_left_out(toy, monkeypatch):
    folder = a_run("discs", a_row("Ours", ""))
    monkeypatch.setattr("gan3d_bench.report.showcase.MESH_BYTES", 100)
    shown = exhibit(Run(folder))
    assert shown.meshes == [] and "mesh_00.glb: 0.0 MiB, more than" in shown.left_out[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no stored rows of any table under runs or in results; expected those made by"),
        (["--results", "none.json"], "--results none.json: no such file"),
        (["--results", "unknown.json"], "unknown table 'turnd'"),
        (["--results", "damaged.json"], "damaged.json: not stored results"),
        (["--run", "nowhere"], "nowhere: not a run folder"),
        (["--out", "."], "--out .: is a folder"),
        (["--out", "unknown.json/x.html"], "unknown.json is a file"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    Path("damaged.json").write_text("[1")
    save_result(a_row("Ours", "x", table="turnd"), Path("unknown.json"))
    before = set(Path().rglob("*"))
    refused = cli("report", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert set(Path().rglob("*")) == before


# -- curves -----------------------------------------------------------------------------------


def test_curves_are_means_over_the_tables_items(toy):
    ours = a_row("Ours", "a")
    ours.values["psnr@yaw=40"][1] = float("nan")
    fewer = replace(a_row("Mirror", "b"), items=[0, 1, 5])
    (curve,) = curves(assemble(TABLE, [ours, fewer]))
    assert (curve.label, curve.axis) == ("PSNR (dB) ↑", "yaw")
    second, first = curve.series  # in the order of the table's rows
    assert [point.x for point in first.points] == [-40, -20, 0, 20, 40]
    assert [point.y.mean for point in second.points] == [16.5, 18.5, 20.5, 18.5, 16.5]
    assert [point.whole for point in first.points] == [True] * 4 + [False]
    assert first.points[4].y.count == 1


def test_two_runs_of_one_row_are_told_apart(toy):
    (curve,) = curves(assemble(TABLE, [a_row("Ours", "runs/a"), a_row("Ours", "runs/b")]))
    assert [series.name for series in curve.series] == ["Ours (runs/a)", "Ours (runs/b)"]


def test_other_keys_are_no_curves(toy):
    values = {
        "psnr": [1.0],
        "psnr@x=nan": [1.0],
        "psnr@": [1.0],
        "psnr@left": [1.0],
        "lone@3": [1.0],
    }
    assert curves(assemble(TABLE, [a_row("Ours", "a", items=[0], values=values)])) == []


def test_a_drawing_puts_points_where_they_belong():
    from gan3d_bench.benchmarks.results import Estimate

    points = [Point(x, Estimate(float(x), 0.5, 4), x < 20) for x in (0, 10, 20)]
    text = str(draw(Curve("Up", "yaw", [Series(SCRIPT, points)])))
    assert SCRIPT not in text
    marks = re.findall(r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)"', text)
    xs, ys = ([float(mark[k]) for mark in marks] for k in (1, 2))
    assert [mark[0] for mark in marks] == ["whole", "whole", "part"]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2) and xs[0] < xs[1]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2) and ys[0] > ys[1]
    bars = re.findall(r'class="bar" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', text)
    lengths = [float(bar[1]) - float(bar[3]) for bar in bars]
    assert lengths == pytest.approx([(ys[0] - ys[2]) / 20] * 3, abs=0.2)


@pytest.mark.parametrize(
    ("low", "high", "most"), [(-60, 60, 9), (0.1231, 0.1239, 6), (5, 5, 6), (0, 0, 6), (-1e6, 3, 5)]
)
def test_ticks_are_few_and_inside(low, high, most):
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most
    slack = 1e-9 * (abs(low) + abs(high) + 1)
    assert low - slack <= found[0] and found[-1] <= high + slack


# -- in a browser -----------------------------------------------------------------------------


@pytest.fixture
def browser(tests_on_path, tmp_path_factory):
    from browser import Browser, find

    program = find()
    if program is None:
        pytest.skip("no Chromium on the path, and CHROMIUM names none")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_in_chromium(site, browser):
    browser.open(site)
    drawn = "[...document.querySelectorAll('canvas')].every(c => c.dataset.triangles === '128')"
    browser.wait(drawn)
    assert browser.evaluate("document.title") == "gan3d-bench report"
    # a picture is given time to load and is laid out
    browser.wait("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert ink(browser.picture("table")) > 0.01
    assert ink(browser.picture(".curves svg")) > 0.01

    for viewer in ("figure.viewer:nth-of-type(1) canvas", "figure.viewer:nth-of-type(2) canvas"):
        frontal = np.asarray(browser.picture(viewer)).astype(int)
        height, width, _ = frontal.shape
        left = frontal[height // 2, int(0.4 * width)]
        right = frontal[height // 2, int(0.6 * width)]
        assert left[0] > left[2] + 60 and right[2] > right[0] + 60  # red left, blue right
    browser.evaluate("document.querySelector('[data-look=shape]').click()")
    turned = "document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {key: "
    for key in ("ArrowRight", "+"):
        browser.evaluate(f"{turned}{json.dumps(key)}}}))")
    browser.wait("new Promise(done => requestAnimationFrame(() => done(1))) && true")
    browser.evaluate("document.querySelector('[data-mesh=\"1\"]').click()")
    browser.wait(drawn)
    plaster = np.asarray(browser.picture("canvas")).astype(int)
    height, width, _ = plaster.shape
    centre = plaster[height // 2, width // 2]
    assert np.ptp(centre) <= 2 and np.ptp(plaster[:, :, 0]) > 30  # grey, and shaded
    states = browser.evaluate("[...document.querySelectorAll('.status')].map(s => s.textContent)")
    assert states == ["", ""]
    if keep := os.environ.get("KEEP_PAGE"):  # to look at it: the page and its picture
        Path(keep, "report.html").write_bytes(site.read_bytes())
        browser.picture().save(Path(keep, "report.png"))
    assert browser.complaints == []
    assert browser.requests == [site.resolve().as_uri()]


def test_a_mesh_that_cannot_be_read_says_so_in_its_place(site, browser):
    text = site.read_text()
    start = text.index('class="mesh">') + len('class="mesh">')
    site.write_text(text[:start] + base64.b64encode(b"glTF" + bytes(60)).decode() + text[start:])
    browser.open(site)
    browser.wait("document.querySelector('.status').textContent.startsWith('Cannot be shown')")
    browser.wait("document.querySelectorAll('canvas')[1].dataset.triangles === '128'")
    assert browser.complaints == []


def ink(picture: Image.Image) -> float:
    """Share of pixels that differ from the corner's."""
    pixels = np.asarray(picture).astype(int)
    return float((np.abs(pixels - pixels[0, 0]).max(-1) > 40).mean())
