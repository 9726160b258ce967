"""Shards on disk: resumed, stale, damaged, made by several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.files.shard_store import ShardStore

COUNT, SHARD = 11, 4
PARTS = [range(0, 4), range(4, 8), range(8, 11)]


class Maker:
    """Makes numbers that depend on the item alone, and dies at the call `dies`."""

    def __init__(self, dies: int = -1) -> None:
        self.calls: list[range] = []
        self.dies = dies

    def __call__(self, items: range) -> Mapping[str, Tensor]:
        if len(self.calls) == self.dies:
            raise KeyboardInterrupt
        self.calls.append(items)
        number = torch.tensor(list(items))
        both = torch.stack((number.float().sqrt(), number.float().sin()))
        return {"found": number != 3, "code": both.mT, "half": both[1]}


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore(tmp_path / "shards", "abc", SHARD)


def test_a_killed_run_goes_on_to_the_same_bits(store: ShardStore, tmp_path: Path) -> None:
    whole = ShardStore(tmp_path / "whole", "abc", SHARD)
    assert whole.run(COUNT, Maker()) == PARTS
    with pytest.raises(KeyboardInterrupt):
        store.run(COUNT, Maker(dies=1))
    assert [store.has(items) for items in PARTS] == [True, False, False]
    with pytest.raises(UserError, match=r"00000004-00000008\.safetensors: missing"):
        store.load(COUNT)
    again = Maker()
    assert store.run(COUNT, again) == again.calls == PARTS[1:]
    expected, found = whole.load(COUNT), store.load(COUNT)
    assert found.keys() == expected.keys() == {"found", "code", "half"}
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert found["found"].dtype == torch.bool and len(found["code"]) == COUNT


def test_so_many_at_once_and_nothing_twice(store: ShardStore) -> None:
    maker = Maker()
    assert store.run(COUNT, maker, most=1) == PARTS[:1]
    assert store.run(COUNT, maker, most=1) == PARTS[1:2]
    store.run(COUNT, maker)
    assert store.run(COUNT, maker) == []
    assert maker.calls == PARTS


def test_more_items_need_only_what_is_new(store: ShardStore) -> None:
    store.run(8, Maker())
    maker = Maker()
    store.run(COUNT, maker)
    assert maker.calls == PARTS[2:]
    store.run(16, maker)  # the last shard was shorter
    assert maker.calls == [*PARTS[2:], range(8, 12), range(12, 16)]


@pytest.mark.parametrize("harm", ["stale", "truncated", "foreign"])
def test_what_is_not_of_this_run_is_made_anew(store: ShardStore, harm: str) -> None:
    if harm == "stale":
        ShardStore(store.folder, "older", SHARD).run(COUNT, Maker())
        expected = PARTS
    else:
        store.run(COUNT, Maker())
        path = sorted(store.folder.iterdir())[1]
        content = path.read_bytes()
        path.write_bytes(content[:-3] if harm == "truncated" else b"not tensors")
        expected = PARTS[1:2]
        with pytest.raises(UserError, match="missing, damaged or of another run"):
            store.load(COUNT)
    maker = Maker()
    store.run(COUNT, maker)
    assert maker.calls == expected
    assert len(store.load(COUNT)["found"]) == COUNT


def test_a_wrong_number_of_items_is_a_mistake(store: ShardStore) -> None:
    with pytest.raises(ValueError, match=r"\{'found': 2\} items made, expected 4"):
        store.run(COUNT, lambda items: {"found": torch.ones(2), "code": torch.ones(4)})
    assert not any(map(store.has, PARTS))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        ShardStore(tmp_path / "shards", "abc", SHARD).run(COUNT, Maker())


def make_as_rank(rank: int, port: int, folder: Path) -> None:
    """Make the shards of one of two processes, and note which; called by name."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    maker = Maker()
    store = ShardStore(folder / "shards", "abc", SHARD)
    store.run(COUNT, maker)
    dist.barrier()
    made = [list(items) for items in maker.calls]
    (folder / f"{rank}.json").write_text(json.dumps([made, len(store.load(COUNT)["code"])]))
    dist.destroy_process_group()


def test_two_processes_share_the_shards(
    store: ShardStore, tmp_path: Path, free_port: int, tests_on_path: None, monkeypatch
) -> None:
    import children

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from test_shard_store import make_as_rank  # by a name that the other processes know

    ranks = [children.start_function(make_as_rank, rank, free_port, tmp_path) for rank in range(2)]
    for process in ranks:
        process.join(300)
        assert process.exitcode == 0
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == [[list(PARTS[0]), list(PARTS[2])], COUNT]
    assert second == [[list(PARTS[1])], COUNT]
    alone = ShardStore(tmp_path / "alone", "abc", SHARD)
    alone.run(COUNT, Maker())
    assert all(torch.equal(alone.load(COUNT)[k], v) for k, v in store.load(COUNT).items())


def test_some_items_and_some_tensors_are_read_alone(store: ShardStore) -> None:
    store.run(COUNT, Maker())
    whole, numbers = store.load(COUNT), [9, 0, 4, 9]
    rows = store.rows(COUNT, numbers)
    assert rows.keys() == whole.keys()
    assert all(torch.equal(rows[name], whole[name][numbers]) for name in whole)
    assert store.load(COUNT, ["half"]).keys() == {"half"}
    (store.folder / "00000004-00000008.safetensors").unlink()
    assert len(store.rows(COUNT, [1])["half"]) == 1
    with pytest.raises(UserError, match="missing"):
        store.rows(COUNT, [1, 5])
