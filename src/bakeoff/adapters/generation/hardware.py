"""Which number format and how many threads this machine should compute with."""

import os
from pathlib import Path
from typing import Literal

from bakeoff.errors import UsageError

Dtype = Literal["float32", "bfloat16"]


def pick_dtype(*, override: str | None = None, cpuinfo: str | None = None, cuda_bfloat16: bool | None = None) -> Dtype:
    """The format that computes fastest here.

    Args:
        override: what a person asked for; wins. Raises UsageError for anything but the two formats.
        cpuinfo: text of /proc/cpuinfo; None reads it (absent: float32).
        cuda_bfloat16: None without a CUDA GPU, else whether it computes in bfloat16. None asks torch.

    On CPUs bfloat16 pays with AMX (``amx_bf16``), or with ``avx512_bf16`` on AMD Zen 4 and later, where it
    doubles the rate. Intel cores without usable AMX report ``avx512_bf16`` too, but run it at 0.6 of the
    float32 rate (measured: 83 against 150 GFLOP/s per core), so they stay with float32.
    """
    if override is not None:
        if override not in ("float32", "bfloat16"):
            raise UsageError(f"unknown number format {override!r}", cure="expected float32 or bfloat16")
        return "bfloat16" if override == "bfloat16" else "float32"
    if _cuda_bfloat16() if cuda_bfloat16 is None else cuda_bfloat16:
        return "bfloat16"
    return "bfloat16" if _fast_bfloat16(_read_cpuinfo() if cpuinfo is None else cpuinfo) else "float32"


def _fast_bfloat16(cpuinfo: str) -> bool:
    words = set(cpuinfo.split())
    return "amx_bf16" in words or ("avx512_bf16" in words and "AuthenticAMD" in words)


def _read_cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _cuda_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())


def device() -> str:
    """'cuda' where torch can use a GPU, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
