"""Official StyleGAN2 files for tests: whole ones, changed ones, hostile ones. All made here."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parent / "parity"
PICKLE = PARITY / "stylegan2_nvidia_pickle" / "network.pkl"


# -- parity vectors -----------------------------------------------------------------------------


def vector(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and arrays of a parity vector."""
    arrays = np.load(PARITY / name / "arrays.npz")
    described = json.loads((PARITY / name / "vector.json").read_text())
    return described, {key: torch.from_numpy(arrays[key]).float() for key in arrays}


def ruled(shapes: dict[str, list[int]], rules: list[dict[str, Any]]) -> dict[str, Tensor]:
    """State dict by a vector's weight rule; constant kernels are left out."""
    state = {}
    for key, shape in sorted(shapes.items()):
        rule = next(rule for rule in rules if re.fullmatch(rule["pattern"], key))
        if not rule.get("keep"):
            values = np.random.RandomState(zlib.crc32(key.encode())).randn(*shape)
            values = rule["offset"] + rule["scale"] * values
            state[key] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def rosinality() -> dict[str, Any]:
    """A training checkpoint as rosinality's code writes one, with the vector's weights."""
    described, arrays = vector("stylegan2_rosinality")
    g_ema = ruled(described["state_dict_generator"], described["rules_generator"])
    d = ruled(described["state_dict_discriminator"], described["rules_discriminator"])
    return {
        "g_ema": OrderedDict(g_ema),
        "d": OrderedDict(d),
        "latent_avg": arrays["truncation_latent"].reshape(-1),
        "g_optim": {"state": {0: {"step": 3}}, "param_groups": [{"betas": (0.0, 0.99)}]},
        "ada_aug_p": 0.25,
    }


def torch_bytes(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


# -- NVIDIA's pickles ---------------------------------------------------------------------------


class Persistent:
    """A module as NVIDIA's persistence pickles it."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def __reduce__(self) -> Any:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)

    @property
    def state(self) -> dict[str, Any]:
        return self.meta["state"]

    def child(self, path: str) -> Persistent:
        """The module at a dotted path; "" is this one."""
        module = self
        for name in path.split(".") if path else ():
            module = module.state["_modules"][name]
        return module


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Persistent:
    return Persistent(meta)


class EasyDict(dict):
    """NVIDIA's dict with attributes."""


@contextmanager
def nvidia_modules() -> Iterator[None]:
    """The names that NVIDIA's pickles know their objects by."""
    homes = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    added = {}
    for path, member in homes.items():
        added[path.partition(".")[0]] = types.ModuleType(path.partition(".")[0])
        added[path] = types.ModuleType(path)
        setattr(added[path], member.__name__, member)
        member.__module__ = path
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def snapshot() -> dict[str, Any]:
    """The miniature snapshot, as objects that may be changed."""
    with nvidia_modules():
        return pickle.loads(PICKLE.read_bytes())


def pickled(content: Any, protocol: int = 4) -> bytes:
    with nvidia_modules():
        return pickle.dumps(content, protocol)


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The miniature snapshot with something in it changed."""
    content = snapshot()
    change(content)
    return pickled(content)


# -- hostile files ------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.answer = function, arguments

    def __reduce__(self) -> Any:
        return self.answer


def tensor_call(
    numel: int = 4, size: tuple = (4,), stride: tuple = (1,), offset: int = 0, data: Any = None
) -> Any:
    """Pickles as a tensor with a storage inside, as NVIDIA's pickles hold them."""
    if data is None:
        typed = torch.storage.TypedStorage(
            wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
        )
        data = torch_bytes(typed, zipped=False)
        count = data.rindex(b"K\x04")  # the declared number of values
        data = data[:count] + b"J" + struct.pack("<i", numel) + data[count + 2 :]
    storage = Calls(torch.storage._load_from_bytes, data)
    arguments = (storage, offset, size, stride, False, OrderedDict())
    return Calls(torch._utils._rebuild_tensor_v2, *arguments)


def hostile(sentinel: Path) -> dict[str, bytes]:
    """Files that run code, fill the memory or take for ever where they are read carelessly.

    Args:
        sentinel: the file that each payload would make.
    """
    touch = f"touch {sentinel}"
    system = Calls(os.system, touch)
    files = {f"system-protocol{n}": pickle.dumps(system, n) for n in range(6)}
    files |= {
        "eval": pickle.dumps(Calls(eval, f"open({str(sentinel)!r}, 'w')")),
        "nested-reduce": pickle.dumps(
            Calls(map, Calls(getattr, Calls(__import__, "os"), "system"), [touch])
        ),
        "nt": b"\x80\x02cnt\nsystem\n" + text(touch) + b"\x85R.",
        "inst": b"(S'" + touch.encode() + b"'\niposix\nsystem\n.",
        "obj": b"\x80\x02(cposix\nsystem\n" + text(touch) + b"o.",
        "extension": b"\x80\x02\x82\x01.",
        "dotted-name": stack_global("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "split-name": stack_global("torch", "_utils._rebuild_tensor_v2"),
        "name-of-tuples": b"\x80\x04))\x93.",
        "name-with-control": stack_global("os\n\x1b[31m", "system\x00"),
        "build-on-class": b"\x80\x02ccollections\nOrderedDict\n}" + text("__new__") + b"K\x01sb.",
        "call-of-a-name": b"\x80\x02ctorch\nFloatStorage\n)R.",
        "call-of-a-number": b"\x80\x02K\x01)R.",
        "persistent-id": b"\x80\x02" + text("x") + b"Q.",
        "in-g_ema": pickle.dumps({"g_ema": system}),
        "in-zip": torch_bytes({"g_ema": system}),
        "in-legacy": torch_bytes({"g_ema": system}, zipped=False),
        "in-g_ema-value": torch_bytes({"g_ema": {"input.input": system}}),
        "in-storage": changed(replace("b4.conv1", "bias", data=pickle.dumps(system))),
        "in-storage-legacy": changed(
            replace("b4.conv1", "bias", data=torch_bytes([system], zipped=False))
        ),
        "hash-of-tuples": b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
        "hash-collisions": b"\x80\x02}("
        + b"".join(long1(i * (2**61 - 1)) + b"N" for i in range(50_000))
        + b"u.",
        "laughs": b"\x80\x02}" + text("g_ema") + b")" + b"q\x00h\x00\x86" * 60 + b"s.",
        "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
        "tuples": b"\x80\x02)" + b"\x85" * 2_000_000 + b".",
        "instructions": b"\x80\x02" + b"N" * 3_000_000 + b".",
        "memo-index": b"\x80\x02Nr\xff\xff\xff\xff",
        "memo-missing": b"\x80\x02h\x05.",
        "stack-empty": b"\x80\x02\x86.",
        "huge-bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62),
        "huge-text": b"\x80\x04\x8d" + struct.pack("<Q", 2**64 - 1),
        "huge-frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "huge-number": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "long-number": b"I" + b"9" * 1_000_000 + b"\n.",
        "compressed": compressed_archive(),
        "claims-size": claiming_archive(),
        "storage-declared": changed(replace("b4.conv1", "bias", numel=2**31 - 1)),
        "strides-out": changed(replace("b4.conv1", "bias", size=(8,), stride=(1000,))),
        "offset-out": changed(replace("b4.conv1", "bias", offset=1)),
        "offset-negative": changed(replace("b4.conv1", "bias", offset=-4)),
        "stride-zero": changed(replace("b4.conv1", "bias", size=(2**40,), stride=(0,))),
        "many-axes": changed(replace("b4.conv1", "bias", size=(1,) * 99, stride=(1,) * 99)),
        "modules-of-modules": changed(_nest_modules),
        "channels": changed(replace("b4.conv1", "bias", size=(4, 0, 2**40), stride=(0, 0, 0))),
        "empty": b"",
        "text": b"<!doctype html><title>404</title>",
        "random": random.Random(0).randbytes(100_000),
        "random-pickle": b"\x80\x04" + random.Random(1).randbytes(100_000),
        "random-zip": b"PK\x03\x04" + random.Random(2).randbytes(100_000),
    }
    return files


def stack_global(module: str, name: str) -> bytes:
    texts = b"".join(b"\x8c" + bytes([len(t.encode())]) + t.encode() for t in (module, name))
    return b"\x80\x04" + texts + b"\x93)R."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def long1(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]


def replace(path: str, name: str, **tensor: Any) -> Callable[[dict[str, Any]], None]:
    """Put another tensor, see `tensor_call`, in the place of a weight of G_ema's synthesis."""

    def change(content: dict[str, Any]) -> None:
        module = content["G_ema"].child(f"synthesis.{path}")
        module.state["_parameters"][name] = tensor_call(**tensor)

    return change


def _nest_modules(content: dict[str, Any]) -> None:
    module = content["G_ema"].child("synthesis.b4.conv1.affine")
    for _ in range(6):
        state = {**module.state, "_modules": {str(i): module for i in range(40)}}
        module = Persistent({**module.meta, "state": state})
    content["G_ema"].child("synthesis.b4").state["_modules"]["conv1"] = module


def compressed_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(64 * 2**20))
    return buffer.getvalue()


def claiming_archive() -> bytes:
    content = bytearray(torch_bytes({"g_ema": {"input.input": torch.zeros(4)}}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    return bytes(content)
