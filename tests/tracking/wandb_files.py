"""Reads what W&B stored of an offline run, from its own transaction log."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


@dataclass
class Recorded:
    """One ``offline-run-*`` folder.

    Attributes:
        run: W&B's record of the run: id, project, group, tags, resume.
        history: logged rows; media have one item a detail, under their own key.
        media: key -> the details of the media logged last under it.
        summary: last values of the run's summary.
        folder: where its files lie.
    """

    folder: Path
    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    def table(self, key: str) -> dict[str, Any]:
        """The columns and data of a `wandb.Table`."""
        return json.loads((self.folder / "files" / self.media[key]["path"]).read_text())


def recorded(run: Path) -> list[Recorded]:
    """Everything that W&B recorded offline in a run folder, oldest first."""
    return [_read(file) for file in sorted(run.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(file: Path) -> Recorded:
    found = Recorded(file.parent)
    for message in _messages(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(message)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
        elif kind == "history":
            row: dict[str, Any] = {}
            media: dict[str, dict[str, Any]] = {}
            for item in record.history.item:
                key, *detail = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                if detail:
                    row[key] = media.setdefault(key, {})
                    media[key][detail[0]] = value
                elif isinstance(value, dict) and "_type" in value:
                    row[key] = media[key] = value
                else:
                    row[key] = value
            found.history.append(row)
            found.media |= media
        elif kind == "summary":
            for item in record.summary.update:
                found.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return found


def _messages(file: Path) -> Iterator[bytes]:
    """The messages in a ``.wandb`` file: LevelDB's log format after a header of seven bytes."""
    data, at, message = file.read_bytes(), 7, b""
    while at < len(data):
        rest_of_block = 32768 - at % 32768
        if rest_of_block < 7:
            at += rest_of_block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield message
            message = b""
