"""Answers to a user study: reading them, and counting preferences and agreement.

Imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan3d_bench.errors import UserError
from gan3d_bench.files.json_text import parse_json
from gan3d_bench.regular_files import read_regular

QUESTIONS = ("overall", "shape", "texture")
CHOICES = ("left", "right", "none")
PREFERENCES = ("a", "b", "none")
AGREEMENTS = {1: "three agree", 2: "two of three agree", 3: "no two agree"}
"""Number of different answers of three annotators -> what they are called."""
ANNOTATORS = 3  # whose agreement is counted
MOST_BYTES = 16 * 2**20
LONGEST_NAME = 200


@dataclass(frozen=True)
class Key:
    """Which run is on which side.

    Attributes:
        study: of the page.
        a, b: names of the runs.
        left: "a" or "b" for each item.
    """

    study: str
    a: str
    b: str
    left: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Key:
        """Read a key that `study` wrote.

        Raises:
            UserError: missing, damaged or of another kind.
        """
        content = _read(path, "--key ", "the key of a study")
        items = content.get("items")
        if not isinstance(items, list) or not items:
            raise UserError(f"--key {path}: items={items!r:.60}; expected a list of items")
        left: list[Any] = [
            item.get("left") if isinstance(item, Mapping) else None for item in items
        ]
        for number, side in enumerate(left):
            if side not in ("a", "b"):
                raise UserError(f"--key {path}: items[{number}].left={side!r:.60}; expected a or b")
        words = {name: _text(content, name, f"--key {path}") for name in ("study", "a", "b")}
        return cls(**words, left=left)


@dataclass(frozen=True)
class Tally:
    """What annotators prefer.

    Attributes:
        annotators: their names.
        votes: question -> how often each of `PREFERENCES` was chosen.
        agreement: question -> how often the three annotators of an item agreed, by `AGREEMENTS`.
        agreed_on: items with three annotators; of others agreement is not counted.
    """

    annotators: list[str] = field(default_factory=list)
    votes: Mapping[str, Counter[str]] = field(
        default_factory=lambda: {question: Counter() for question in QUESTIONS}
    )
    agreement: Mapping[str, Counter[str]] = field(
        default_factory=lambda: {question: Counter() for question in QUESTIONS}
    )
    agreed_on: int = 0


def tally(paths: Sequence[Path], key: Key) -> Tally:
    """Count the answers in files that the page of a study gave.

    Raises:
        UserError: a file is missing, damaged, of another study, or of an annotator who has one
            already.
    """
    by_item: dict[int, list[Mapping[str, str]]] = {}
    annotators: dict[str, Path] = {}
    for path in paths:
        name, answers = _answers(path, key)
        if name in annotators:
            raise UserError(
                f"{path}: annotator {name!r} has answered in {annotators[name]}; expected one file "
                "for each"
            )
        annotators[name] = path
        for item, answer in answers.items():
            by_item.setdefault(item, []).append(answer)
    complete = [answers for answers in by_item.values() if len(answers) == ANNOTATORS]
    found = Tally(list(annotators), agreed_on=len(complete))
    for question in QUESTIONS:
        for answers in by_item.values():
            found.votes[question].update(answer[question] for answer in answers)
        for answers in complete:
            different = len({answer[question] for answer in answers})
            found.agreement[question][AGREEMENTS[different]] += 1
    return found


def shares(counts: Mapping[str, int], names: Sequence[str]) -> list[float]:
    """Shares of some counts in percent, zeros where nothing was counted."""
    total = sum(counts.values())
    return [100 * counts.get(name, 0) / total if total else 0.0 for name in names]


def _answers(path: Path, key: Key) -> tuple[str, dict[int, dict[str, str]]]:
    """An annotator's name, and item -> question -> which of `PREFERENCES`."""
    content = _read(path, "", "answers to a study")
    if (study := content.get("study")) != key.study:
        raise UserError(
            f"{path}: answers to study {study!r:.60}; expected '{key.study}', the key's"
        )
    name = _text(content, "annotator", str(path))
    answers = content.get("answers")
    if not isinstance(answers, list):
        raise UserError(f"{path}: answers={answers!r:.60}; expected a list")
    found: dict[int, dict[str, str]] = {}
    for number, answer in enumerate(answers):
        place = f"{path}: answers[{number}]"
        if not isinstance(answer, Mapping):
            raise UserError(f"{place}={answer!r:.60}; expected a mapping")
        item: Any = answer.get("item")
        known = isinstance(item, int) and not isinstance(item, bool)
        if not known or not 0 <= item < len(key.left) or item in found:
            raise UserError(
                f"{place}.item={item!r:.60}; expected 0 to {len(key.left) - 1}, each once"
            )
        for question in QUESTIONS:
            if answer.get(question) not in CHOICES:
                raise UserError(
                    f"{place}.{question}={answer.get(question)!r:.60}; expected "
                    f"{', '.join(CHOICES)}"
                )
        found[item] = {q: _preference(answer[q], key.left[item]) for q in QUESTIONS}
    return name, found


def _preference(choice: str, left: str) -> str:
    if choice == "none":
        return choice
    other = "b" if left == "a" else "a"
    return left if choice == "left" else other


def _text(content: Mapping[str, Any], name: str, place: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= LONGEST_NAME:
        raise UserError(f"{place}: {name}={value!r:.60}; expected 1 to {LONGEST_NAME} characters")
    return value.strip()


def _read(path: Path, option: str, what: str) -> Mapping[str, Any]:
    try:
        content = parse_json(read_regular(path, MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{option}{path}: no such file; expected {what}") from None
    except OSError as error:
        raise UserError(f"{option}{path}: {error.strerror}; expected {what}") from error
    except ValueError as error:
        raise UserError(f"{option}{path}: not {what}: {error}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{option}{path}: {content!r:.60}; expected {what}")
    return content
