"""Pickles and torch files of strangers: what they hold comes out, damage is told, nothing runs."""

from __future__ import annotations

import argparse
import ast
import io
import pickle
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import official_files as files
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gan3d_bench
from gan3d_bench.errors import UserError
from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.pickles import RefusedPickle, UnknownName, read_pickle
from gan3d_bench.files.torch_files import load_tensors, read_everything, read_file

LIMIT = 2**20
QUICK = settings(max_examples=50, deadline=None)
FILES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(0, 999), inner)
    ),
    max_leaves=20,
)


def read(content: bytes, names: Any = None, **options: Any) -> Any:
    return read_pickle(io.BytesIO(content), names or {}, **options)


def torch_file(folder: Path, content: Any, zipped: bool = True) -> Path:
    path = folder / "file.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


# -- pickles ------------------------------------------------------------------------------------


@QUICK
@given(values, st.integers(2, 5))
def test_plain_values_come_out(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@given(st.binary() | st.binary(min_size=300, max_size=300), st.integers(3, 5))
def test_bytes_come_out(value: bytes, protocol: int) -> None:
    assert read(pickle.dumps([value, value], protocol)) == [value, value]


def test_sets_come_as_lists() -> None:
    assert sorted(read(pickle.dumps({1, 2, 3}, 4))) == [1, 2, 3]


@QUICK
@given(values, st.integers(2, 5), st.data())
def test_a_cut_pickle_is_refused(value: Any, protocol: int, data: st.DataObject) -> None:
    content = pickle.dumps(value, protocol)
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(RefusedPickle):
        read(content[:end])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for start in (b"", b"\x80\x04", b"\x80\x02}("):
        try:
            read(start + content)
        except RefusedPickle as error:
            assert "\n" not in str(error)


def test_the_file_is_left_behind_the_pickle() -> None:
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps("two") + b"rest")
    assert read_pickle(file, {}) == [1]
    assert read_pickle(file, {}) == "two"
    assert file.read() == b"rest"


def test_names_are_answered_by_the_reader_only() -> None:
    content = pickle.dumps(OrderedDict(a=1), 2)
    with pytest.raises(UnknownName, match=r"asks for 'collections\.OrderedDict'") as error:
        read(content)
    assert error.value.name == "collections.OrderedDict"
    assert read(content, {"collections.OrderedDict": lambda: {"ours": 0}}) == {"ours": 0, "a": 1}
    with pytest.raises(RefusedPickle, match=r"calls 'collections\.OrderedDict'"):
        read(content, {"collections.OrderedDict": None})


def test_attributes_are_not_set() -> None:
    content = pickle.dumps(argparse.Namespace(size=3, pop="other"), 4)
    made: dict[str, Any] = {}
    assert read(content, {"argparse.Namespace": lambda: made}) is made
    assert made == {}


def test_work_is_bounded() -> None:
    content = pickle.dumps(list(range(100)), 4)
    with pytest.raises(RefusedPickle, match="more than 50 instructions"):
        read(content, max_opcodes=50)
    nested = b"\x80\x02" + b"(" * 300 + b"t" * 300 + b"."
    with pytest.raises(RefusedPickle, match="nested more than 200 deep"):
        read(nested)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02K\x01K\x02.",  # two values
        b"\x80\x02(K\x01.",  # an open mark
        b"\x80\x02K\x01(\x86.",  # a tuple over a mark
        b"\x80\x02K\x01K\x02a.",  # an item for a number
        b"\x80\x02]K\x01K\x02s.",  # a pair for a list
        b"\x80\x02}(K\x01u.",  # a key alone
        b"\x80\x02})K\x01s.",  # a key that is a tuple
        b"\x80\x02t.",  # no mark
    ],
)
def test_a_pickle_that_makes_no_sense(content: bytes) -> None:
    with pytest.raises(RefusedPickle):
        read(content)


# -- files of torch.save ------------------------------------------------------------------------

DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_are_those_of_torch_load(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    base = (torch.randn(4, 3, 5, 2, generator=rng) * 3).to(dtype)
    content = {
        "whole": base,
        "shared": base[1],
        "transposed": base.transpose(0, 2),
        "part": base[1:3, :, ::2, 1:],
        "channels_last": base.clone(memory_format=torch.channels_last),
        "scalar": base[0, 0, 0, 0],
        "empty": base[:0],
        "parameter": torch.nn.Parameter(base) if dtype.is_floating_point else base,
    }
    path = torch_file(tmp_path, {"state": OrderedDict(content), "step": 3}, zipped)
    found = read_file(path, {})
    assert found["step"] == 3
    state = load_tensors(found["state"], path.stat().st_size * 2)
    assert list(state) == list(content)
    for key, value in content.items():
        assert state[key].dtype == dtype
        assert state[key].is_contiguous()
        assert torch.equal(state[key], value)


@pytest.mark.parametrize("zipped", [True, False])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_cut_file_is_refused(tmp_path: Path, zipped: bool, data: st.DataObject) -> None:
    path = torch_file(tmp_path, {"a": torch.arange(7.0), "b": torch.arange(9.0).view(3, 3)}, zipped)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(RefusedPickle):
        read_file(path, {})


@pytest.mark.parametrize("zipped", [True, False])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_byte_is_harmless(tmp_path: Path, zipped: bool, data: st.DataObject) -> None:
    path = torch_file(tmp_path, {"a": torch.arange(7.0), "b": torch.arange(9.0).view(3, 3)}, zipped)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        load_tensors(read_file(path, {}), LIMIT)
    except RefusedPickle as error:
        assert "\n" not in str(error)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"a": torch.full((64,), 3.0)})
    content = path.read_bytes()
    path.write_bytes(content.replace(torch.full((64,), 3.0).numpy().tobytes(), bytes(256)))
    with pytest.raises(RefusedPickle, match="damaged"):
        load_tensors(read_file(path, {}), LIMIT)


def test_a_missing_storage_is_told(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"a": torch.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if "/data/" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    with pytest.raises(RefusedPickle, match="a storage is missing: 'file/data/0'"):
        read_file(path, {})


def test_tensors_together_are_limited(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {str(i): torch.zeros(10) for i in range(10)})
    content = read_file(path, {})
    assert len(load_tensors(content, 400)) == 10
    with pytest.raises(RefusedPickle, match="larger than the file"):
        load_tensors(content, 399)


def test_a_tensor_repeated_without_end_is_refused(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"a": torch.zeros(1).expand(2**40)})
    with pytest.raises(RefusedPickle, match="larger than the file"):
        load_tensors(read_file(path, {}), path.stat().st_size)


def test_strides_are_those_that_were_saved(tmp_path: Path) -> None:
    """An optimiser's state goes on in the layout of its weights, to the same bits."""
    base = torch.randn(2, 3, 4, 5)
    content = {
        "nhwc": base.clone(memory_format=torch.channels_last),
        "gaps": base[..., ::2],
        "again": base[0],
    }
    found = read_everything(torch_file(tmp_path, content))
    assert found["nhwc"].stride() == content["nhwc"].stride()
    assert found["gaps"].is_contiguous()
    assert all(torch.equal(found[key], value) for key, value in content.items())


def test_views_of_large_storages_cost_little(tmp_path: Path) -> None:
    """Thousands of single values of one storage; of two in turn, each is read again."""
    one, two = torch.randn(2, 10_000)
    two = two.clone()
    found = read_everything(torch_file(tmp_path, [one[i] for i in range(2000)]))
    assert torch.equal(torch.stack(found), one[:2000])
    alternating = [x for i in range(500) for x in (one[i], two[i])]
    with pytest.raises(RefusedPickle, match="many views of few values"):
        read_everything(torch_file(tmp_path, alternating))


@pytest.mark.parametrize("name", ["laughs", "compressed", "claims-size", "in-zip", "marks"])
def test_hostile_run_checkpoints_are_refused_at_once(tmp_path: Path, name: str) -> None:
    sentinel, path = tmp_path / "sentinel", tmp_path / "last.ckpt"
    path.write_bytes(files.hostile(sentinel)[name])
    began = time.process_time()
    with pytest.raises(UserError, match=r"last\.ckpt: not a readable checkpoint"):
        read_checkpoint(path)
    assert time.process_time() - began < 5
    assert not sentinel.exists()


def test_layouts_other_than_strided_are_refused(tmp_path: Path) -> None:
    for tensor in (
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.eye(3), 1, 0, torch.qint8),
    ):
        with pytest.raises(UserError, match="not a readable checkpoint"):
            read_checkpoint(torch_file(tmp_path, {"state_dict": {"a": tensor}}))


UNBOUNDED = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "yaml.load"),
    *("shelve.open", "marshal.load", "dill.load", "pandas.read_pickle"),
}


def test_no_source_opens_files_of_strangers_in_another_way() -> None:
    """All go through `torch_files` and its like, whose work and memory are bounded."""
    found = []
    for folder in (Path(gan3d_bench.__file__).parent, Path(__file__).parents[2] / "tools"):
        for path in folder.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "load" in text or "pickle" in text:
                nodes = ast.walk(ast.parse(text))
                found += [f"{path.name}: {name}" for node in nodes for name in unbounded(node)]
    assert found == ["inception.py: torch.jit.load"]  # of an asset, whose hash is pinned


def unbounded(node: ast.AST) -> set[str]:
    """What a node of a source refers to that opens files without bounds."""
    match node:
        case ast.Attribute(attr=attribute):
            name = ast.unparse(node)
            return {name} if name in UNBOUNDED or attribute == "load_from_checkpoint" else set()
        case ast.ImportFrom(module=module, names=names):
            return {f"{module}.{alias.name}" for alias in names} & UNBOUNDED
        case ast.keyword(arg="allow_pickle", value=value) if ast.unparse(value) != "False":
            return {"allow_pickle"}
    return set()


def test_openers_without_bounds_are_recognised() -> None:
    source = "import torch\nfrom pickle import loads\ntorch.load(f)\nnp.load(f, allow_pickle=x)\n"
    found = set().union(*(unbounded(node) for node in ast.walk(ast.parse(source))))
    assert found == {"torch.load", "pickle.loads", "allow_pickle"}


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "archive").write_bytes(zip_of({"readme": b"text"}))
    for name, reason in {
        "absent": "no such file",
        ".": "a folder",
        "empty": "an empty file",
        "archive": "an archive, but not of torch.save",
    }.items():
        with pytest.raises(RefusedPickle, match=reason):
            read_file(tmp_path / name, {})


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"a": torch.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(zip_of({**members, "file/byteorder": b"big"}))
    with pytest.raises(RefusedPickle, match="big-endian"):
        read_file(path, {})
