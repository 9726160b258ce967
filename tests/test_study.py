"""`study`: the page of a user study, its key, and the count of votes."""

from __future__ import annotations

import json
import os
import random
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan3d_bench.errors import UserError
from gan3d_bench.report.study import azimuths, left_sides
from gan3d_bench.report.votes import AGREEMENTS, CHOICES, QUESTIONS, Key, shares, tally

EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def runs(untrained):
    Path("pictures").mkdir()
    for number, name in enumerate(("one.png", EVIL)):
        Image.new("RGB", (40, 40), (60 * number, 120, 200)).save(Path("pictures") / name)
    return [untrained("supervised", f"seed={seed}") for seed in (0, 1)]


@pytest.fixture
def study(cli, runs):
    made = cli("study", *runs, "--images", "pictures", "--out", "out", "--seed", 3)
    assert made.code == 0, made.err
    return Path("out/study.html")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_the_page_holds_everything_but_who_is_who(cli, study, runs):
    text = study.read_text()
    page = Page(text)
    pictures = page.all("img")
    assert len(pictures) == 2 * (1 + 2 * 2)
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in pictures)
    assert {(p["width"], p["height"]) for p in pictures} == {("256", "256"), ("768", "128")}
    radios = [field for field in page.all("input") if field["type"] == "radio"]
    assert {field["name"] for field in radios} == {f"{q}-{i}" for q in QUESTIONS for i in (0, 1)}
    assert all([f["value"] for f in radios if f["name"] == name] == list(CHOICES)
               for name in {field["name"] for field in radios})  # fmt: skip
    assert "http" not in text.replace("http-equiv", "") and page.all("link") == []
    key = json.loads(Path("out/key.json").read_text())
    for secret in (*map(str, runs), "supervised", "onerror", "one.png"):
        assert secret not in text
    names = [item["name"] for item in key["items"]]
    assert sorted(names) == sorted(("one", EVIL.removesuffix(".png")))
    assert [item["left"] for item in key["items"]] == left_sides(2, 3)
    assert (key["a"], key["b"], key["seed"]) == (*map(str, runs), 3)

    # with another seed the same pictures stand on the other side
    seed = next(s for s in range(20) if left_sides(2, s)[0] != key["items"][0]["left"])
    assert cli("study", *runs, "--images", "pictures", "--out", "two", "--seed", seed).code == 0
    second = Page(Path("two/study.html").read_text()).all("img")
    shown = [[picture["src"] for picture in side[:5]] for side in (pictures, second)]
    assert shown[0][0] == shown[1][0]
    assert shown[0][1:3] == shown[1][3:5] and shown[0][3:5] == shown[1][1:3]
    assert shown[0][1] != shown[0][3]


def test_sides_are_fair_and_views_go_round():
    assert 430 < left_sides(1000, 0).count("a") < 570
    assert azimuths(360) == [0, 60, 120, 180, 240, 300]
    assert azimuths(50) == pytest.approx([-25, -15, -5, 5, 15, 25])


# -- votes ------------------------------------------------------------------------------------

KEY = {"study": "s", "a": "runs/a", "b": "runs/b", "items": [{"left": "a"}, {"left": "b"}]}


def answer(item: int, *choices: str) -> dict[str, object]:
    return {"item": item, **dict(zip(QUESTIONS, choices, strict=True))}


def answers(name: str, *given: dict[str, object]) -> dict[str, object]:
    return {"study": "s", "annotator": name, "answers": list(given)}


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_votes_and_agreement_are_counted(cli, toy):
    write(toy, "key", KEY)
    files = [
        write(toy, "p", answers("p", answer(0, "left", "left", "none"),
                                answer(1, "left", "left", "left"))),
        write(toy, "q", answers("q", answer(0, "left", "right", "right"),
                                answer(1, "right", "left", "none"))),
        write(toy, "r", answers("r", answer(0, "left", "none", "none"))),
    ]  # fmt: skip
    found = tally(files, Key.read(toy / "key.json"))
    assert dict(found.votes["overall"]) == {"a": 4, "b": 1}
    assert dict(found.votes["shape"]) == {"a": 1, "b": 3, "none": 1}
    assert dict(found.votes["texture"]) == {"none": 3, "b": 2}
    assert found.agreed_on == 1
    assert [dict(found.agreement[question]) for question in QUESTIONS] == [
        {"three agree": 1}, {"no two agree": 1}, {"two of three agree": 1}
    ]  # fmt: skip
    counted = cli("study", "--tally", *files, "--key", "key.json")
    assert counted.code == 0, counted.err
    lines = [line.split("│")[1:-1] for line in counted.out.splitlines() if line.startswith("│")]
    table = {line[0].strip(): [float(cell) for cell in line[1:]] for line in lines}
    assert table == {
        "A: runs/a": [80, 20, 0], "B: runs/b": [20, 60, 40], "No preference": [0, 20, 60],
        "Three agree": [100, 0, 0], "Two of three agree": [0, 0, 100], "No two agree": [0, 100, 0],
    }  # fmt: skip
    assert "5 votes of 3 annotators on 2 pictures" in counted.out


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), items=st.integers(1, 6), annotators=st.integers(1, 4))
def test_every_vote_counts_once(tmp_path_factory, seed, items, annotators):
    folder, rng = tmp_path_factory.mktemp("votes"), random.Random(seed)
    left = [rng.choice("ab") for _ in range(items)]
    files = []
    for number in range(annotators):
        given = [answer(i, *(rng.choice(CHOICES) for _ in QUESTIONS)) for i in range(items)]
        files.append(write(folder, str(number), answers(str(number), *given)))
    found = tally(files, Key("s", "a", "b", left))
    mirrored = tally(files, Key("s", "a", "b", ["b" if side == "a" else "a" for side in left]))
    for question in QUESTIONS:
        votes, other = found.votes[question], mirrored.votes[question]
        assert votes.total() == items * annotators
        assert (votes["a"], votes["b"], votes["none"]) == (other["b"], other["a"], other["none"])
        assert found.agreement[question].total() == (items if annotators == 3 else 0)
        assert found.agreement[question] == mirrored.agreement[question]
        assert sum(shares(votes, ("a", "b", "none"))) == pytest.approx(100)
    assert shares({}, list(AGREEMENTS.values())) == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected answers to a study"),
        ({**answers("p"), "study": "t"}, "answers to study 't'; expected 's', the key's"),
        (answers(" "), "annotator=' '; expected 1 to"),
        ({**answers("p"), "answers": {}}, "answers={}; expected a list"),
        (answers("p", {"item": 2}), r"answers\[0\].item=2; expected 0 to 1, each once"),
        (answers("p", *[answer(0, *CHOICES)] * 2), r"answers\[1\].item=0; expected"),
        (answers("p", {"item": True}), "item=True"),
        (answers("p", answer(0, "left", "left", "both")), r"texture='both'; expected left, right"),
    ],
)
def test_other_answers_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        tally([write(tmp_path, "x", content)], Key("s", "a", "b", ["a", "b"]))


def test_an_annotator_has_one_file(tmp_path):
    files = [write(tmp_path, name, answers("p")) for name in ("x", "y")]
    with pytest.raises(UserError, match=r"annotator 'p' has answered in .*x\.json"):
        tally(files, Key("s", "a", "b", ["a"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "1 runs; expected two"),
        (["RUN", "RUN"], "--images is missing"),
        (["RUN", "RUN", "--images", "pictures"], "--out is missing"),
        (["RUN", "RUN", "--images", "none", "--out", "out"], "none"),
        (["RUN", "nowhere", "--images", "pictures", "--out", "out"], "nowhere: not a run folder"),
        (["RUN", "RUN", "--key", "k"], "--key k: expected with --tally alone"),
        (["--tally", "x"], "--key is missing"),
        (["--tally", "--key", "k"], "--tally without files"),
        (["--tally", "x", "--key", "k"], "--key k: no such file"),
        (["--tally", "x", "--key", "k", "--out", "o"], "--out o: expected with two runs"),
        (["--tally", "x", "--key", "bad.json"], "items[0].left='c'; expected a or b"),
    ],
)
def test_mistakes_are_one_line(cli, runs, arguments, message):
    write(Path(), "bad", {**KEY, "items": [{"left": "c"}]})
    before = set(Path().rglob("*"))
    refused = cli("study", *(runs[0] if word == "RUN" else word for word in arguments))
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert set(Path().rglob("*")) == before


# -- in a browser -----------------------------------------------------------------------------


def test_in_chromium(cli, study, tests_on_path, tmp_path_factory):
    from browser import PATIENCE, Browser, find

    program = find()
    if program is None:
        pytest.skip("no Chromium on the path, and CHROMIUM names none")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    try:
        sent = tmp_path_factory.mktemp("sent")
        browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(sent))
        browser.open(study)
        browser.wait("[...document.images].every(image => image.complete && image.naturalWidth)")
        disabled = "document.getElementById('download').disabled"
        assert browser.evaluate(disabled)
        for name, value in (("overall-0", "left"), ("shape-0", "none"), ("texture-0", "right"),
                            ("overall-1", "left")):  # fmt: skip
            browser.evaluate(f"document.querySelector('[name={name}][value={value}]').click()")
        status = "document.getElementById('status').textContent"
        assert browser.evaluate(status) == "1 of 2 answered; a name is missing"
        browser.evaluate(
            "(field => { field.value = 'P. Q.'; "
            "field.dispatchEvent(new Event('input', {bubbles: true})); })"
            "(document.getElementById('annotator'))"
        )
        assert browser.evaluate(status) == "1 of 2 answered"
        browser.open(study)  # answers are kept
        assert browser.evaluate(status) == "1 of 2 answered"
        browser.evaluate("document.getElementById('download').click()")
        until = time.monotonic() + PATIENCE
        while not list(sent.glob("*.json")) and time.monotonic() < until:
            time.sleep(0.1)
        (file,) = sent.iterdir()
        assert file.name.endswith("-P-Q-.json")
        assert browser.complaints == []
        asked = {address for address in browser.requests if not address.startswith("blob:")}
        assert asked == {study.resolve().as_uri()}
        if keep := os.environ.get("KEEP_PAGE"):  # to look at it
            browser.picture().save(Path(keep, "study.png"))
    finally:
        browser.close()
    assert json.loads(file.read_text())["answers"] == [answer(0, "left", "none", "right")]
    counted = cli("study", "--tally", file, "--key", "out/key.json")
    assert counted.code == 0, counted.err
    assert "1 votes of 1 annotators on 2 pictures" in counted.out
