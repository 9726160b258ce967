"""Which precision a run trains in: what `trainer.precision=auto` takes on this machine, and why.

bfloat16 pays where the hardware multiplies it. A processor without such instructions emulates it,
and a training step then takes 15 times as long as in float32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

# x86: names of torch.cpu.get_capabilities; ARM: "bf16". The ones that training speed depends on.
SHOWN = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "neon", "sve", "bf16")
BF16 = ("avx512_bf16", "amx_bf16", "bf16")
# oneDNN's values of ONEDNN_MAX_CPU_ISA under which it leaves the bf16 instructions alone
ONEDNN_LIMITS = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE")
ONEDNN_LIMITS += ("AVX512_CORE_VNNI",)
ATEN_LIMITS = ("DEFAULT", "NO AVX", "AVX2")  # ATen's kernels without 512-bit vectors


@dataclass(frozen=True)
class Precision:
    """A value of Lightning's ``precision`` and, in a few words, why it was taken."""

    value: str
    reason: str


@dataclass(frozen=True)
class Processor:
    """What PyTorch's kernels can use of this processor.

    Attributes:
        instructions: its instruction sets, those of `SHOWN`.
        aten: what ATen's kernels use (``ATEN_CPU_CAPABILITY`` can lower it), such as "AVX2".
        onednn: ``ONEDNN_MAX_CPU_ISA``, which lowers what convolutions and products use, or "".
        has_onednn: PyTorch has oneDNN, without which nothing uses the bf16 instructions.
    """

    instructions: tuple[str, ...]
    aten: str
    onednn: str = ""
    has_onednn: bool = True

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Processor:
        """Return this machine's."""
        limit = environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or ""
        found = torch.cpu.get_capabilities()
        return cls(
            tuple(name for name in SHOWN if found.get(name)),
            torch.backends.cpu.get_cpu_capability(),
            limit.upper(),
            torch.backends.mkldnn.is_available(),
        )

    def bf16(self) -> tuple[bool, str]:
        """Return whether training in bfloat16 runs on instructions for it, and the reason."""
        native = [name for name in self.instructions if name in BF16]
        if not native:
            return False, "this processor has no bfloat16 instructions"
        if not self.has_onednn:
            return False, "this PyTorch has no oneDNN, which uses bfloat16 instructions"
        if self.onednn in ONEDNN_LIMITS:
            return (
                False,
                f"ONEDNN_MAX_CPU_ISA={self.onednn} keeps oneDNN from {' and '.join(native)}",
            )
        if native != ["bf16"] and self.aten in ATEN_LIMITS:
            return False, f"PyTorch's kernels are held to {self.aten}"
        return True, f"this processor has {' and '.join(native)}"


def resolve(asked: str, accelerator: str = "auto", before: str = "") -> Precision:
    """Return the precision that a run trains in.

    Args:
        asked: ``trainer.precision``.
        accelerator: ``trainer.accelerator``.
        before: of the run that goes on; "auto" keeps it, whatever the machine.
    """
    if asked != "auto":
        return Precision(asked, "as the config says")
    if before not in ("", "auto"):
        return Precision(before, "as this run began")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and accelerator in ("auto", "gpu", "cuda"):
        return _of_gpus(gpus)
    apple = accelerator != "cpu" and torch.backends.mps.is_available()
    if apple or accelerator not in ("auto", "cpu"):
        return Precision("32-true", "auto: neither a processor's nor CUDA's training")
    native, reason = Processor.here().bf16()
    return Precision("bf16-mixed" if native else "32-true", f"auto: {reason}")


def _of_gpus(count: int) -> Precision:
    for index in range(count):
        with torch.cuda.device(index):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                name = torch.cuda.get_device_name(index)
                return Precision("16-mixed", f"auto: {name} has no bfloat16 instructions")
    return Precision("bf16-mixed", f"auto: {torch.cuda.get_device_name(0)} has bfloat16")
