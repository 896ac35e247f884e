"""What a run computes with: device, precision, threads. It is chosen once and reported at the start of the run."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

import torch

from bertwright.cores import default_threads, describe_threads
from bertwright.errors import RecipeError
from bertwright.tokenization.threads import pool

# glibc's mallopt parameters (malloc.h) and the largest threshold it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_MAX = 1 << 25

MOST_THREADS = 1024
"""The system refuses to start many more, and libraries crash on that rather than raise an error."""


@dataclass(frozen=True)
class ComputeConfig:
    """What a run computes with.

    Attributes:
        device: where the model lives.
        bf16: whether matrix products run in bf16 in training.
        threads: CPU threads of torch.
        reason: why this precision.
        threads_reason: why this number of threads; empty if all cores are used or the recipe sets it.
    """

    device: torch.device
    bf16: bool
    threads: int
    reason: str
    threads_reason: str = ""

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``, as in a recipe."""
        return "bf16" if self.bf16 else "fp32"

    def __str__(self) -> str:
        threads = f", {describe_threads(self.threads, self.threads_reason)}" if self.device.type == "cpu" else ""
        return f"{self.device}{threads}, {self.precision} ({self.reason})"


def choose_compute(device: str = "auto", precision: str = "auto", threads: int | None = None) -> ComputeConfig:
    """Choose what to compute with, and set the number of threads of torch and of the tokenizers library.

    ``auto`` takes an accelerator if there is one, and bf16 where the hardware multiplies it natively: NVIDIA from
    Ampere on, CPUs with AVX512-BF16 or AMX. Elsewhere it is emulated, and slower than fp32. Without ``threads``,
    ``OMP_NUM_THREADS``, the CPU affinity of the process and the CPU limit of its container decide.

    Raises:
        RecipeError: a device that this machine does not have, or more threads than any machine can use.
    """
    if threads is not None and threads > MOST_THREADS:
        raise RecipeError(f"train.threads: is {threads:,}, and at most {MOST_THREADS:,} make sense; lower it.")
    place = _place(device)
    threads, threads_reason = (threads, "") if threads is not None else default_threads()
    threads = min(threads, MOST_THREADS)
    torch.set_num_threads(threads)
    pool.limit(threads)
    native, why = _bf16_is_native(place)
    bf16 = native if precision == "auto" else precision == "bf16"
    return ComputeConfig(place, bf16, threads, why if precision == "auto" else "as set", threads_reason)


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory rather than hand every large block back to the system and fault it in anew.

    A step allocates and frees the same tensors as the one before. Under glibc's defaults those over 128 KiB to 32 MiB
    come from fresh pages each time, which took up to a quarter of a step (docs/background/log.md, 2026-11-21).

    Returns:
        Whether it could be done: on Linux with glibc, unless the user has set glibc's thresholds.
    """
    return _set_thresholds(_MMAP_THRESHOLD_MAX, (1 << 31) - 1)


def restore_allocator() -> bool:
    """Undo :func:`keep_freed_memory`, and hand freed memory back to the system.

    glibc cannot be asked for its thresholds, and by default raises them as a process frees larger blocks. Any process
    that has freed a block of 32 MiB has those that are set here.

    Returns:
        Whether it could be done.
    """
    return _set_thresholds(_MMAP_THRESHOLD_MAX, 2 * _MMAP_THRESHOLD_MAX) and release_free_memory()


def _set_thresholds(mmap: int, trim: int) -> bool:
    """Set glibc's thresholds, in bytes, unless the user has set them."""
    by_user = any(os.environ.get(f"MALLOC_{name}_THRESHOLD_") for name in ("MMAP", "TRIM"))
    if by_user or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, mmap) and mallopt(_M_TRIM_THRESHOLD, trim))


def release_free_memory() -> bool:
    """Hand freed memory back to the system, where :func:`keep_freed_memory` keeps it; once in a while, not every step.

    Steps of varying lengths leave holes that later ones do not fit into (docs/background/log.md, 2026-11-21).

    Returns:
        Whether any was given back.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    return bool(trim is not None and trim(0))


def _place(device: str) -> torch.device:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        place = torch.device(_best_device() if device == "auto" else device)
        present = available.get(place.type, False)
        present &= place.type != "cuda" or (place.index or 0) < torch.cuda.device_count()
    except RuntimeError:  # torch knows nothing of that name
        present = False
    if not present:
        there = ", ".join(name for name, present in available.items() if present)
        raise RecipeError(f"train.device: there is no {device} on this machine; it has {there}.")
    return place


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _bf16_is_native(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return native, "native on this GPU" if native else "this GPU has no native bf16"
    if device.type == "mps":
        return False, "the default on mps"
    # no public way to ask; these are what torch itself asks before choosing its kernels
    for ask, name in (("_is_avx512_bf16_supported", "AVX512-BF16"), ("_is_amx_tile_supported", "AMX")):
        if getattr(torch.cpu, ask, bool)():
            return True, f"native on this CPU, {name}"
    return False, "this CPU has no native bf16"
