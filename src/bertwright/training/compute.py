"""The compute configuration: device, precision and threads, and the memory allocator of the process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch

from bertwright.cores import default_threads, describe_threads
from bertwright.errors import RecipeError
from bertwright.nn.packed_linear import trains_in_onednn
from bertwright.tokenization.threads import pool

# glibc's mallopt parameters (malloc.h) and the largest threshold it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_MAX = 1 << 25

MAX_THREADS = 1024
"""The system refuses to start many more, and libraries crash on that rather than raise an error."""


@dataclass(frozen=True)
class ComputeConfig:
    """Device, precision and threads. A run, a bundle and every function that runs a model take it as a whole.

    The default is the CPU in fp32 with the threads that torch uses already. :func:`choose_compute` makes one from
    settings. Making one changes nothing in the process; :func:`set_threads` does.

    Attributes:
        device: of the model.
        bf16: whether matrix products run in bf16; in fp32 otherwise.
        threads: CPU threads of torch.
        precision_reason: why this precision was chosen.
        threads_reason: why this number of threads was chosen; empty if all cores are used or the user set it.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    bf16: bool = False
    threads: int = field(default_factory=torch.get_num_threads)
    precision_reason: str = "as set"
    threads_reason: str = ""

    @property
    def precision(self) -> str:
        """``bf16`` or ``fp32``, as in a recipe."""
        return "bf16" if self.bf16 else "fp32"

    def __str__(self) -> str:
        threads = f", {describe_threads(self.threads, self.threads_reason)}" if self.device.type == "cpu" else ""
        return f"{self.device}{threads}, {self.precision} ({self.precision_reason})"

    def describe_training(self) -> str:
        """Device, threads and precision of a training run, and in fp32 on a CPU the library of its products."""
        if self.bf16 or self.device.type != "cpu":
            return str(self)
        library = "oneDNN" if trains_in_onednn() else "torch's default library"
        return f"{self}, matrix products in {library}"

    def in_fp32(self) -> ComputeConfig:
        """The same in fp32: a run evaluates in fp32, also if it trains in bf16."""
        return replace(self, bf16=False)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """A context that runs matrix products in bf16 with torch's autocast; one without effect in fp32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def choose_compute(device: str = "auto", precision: str = "auto", threads: int | None = None) -> ComputeConfig:
    """Choose device, precision and threads from settings; nothing in the process changes.

    ``auto`` selects an accelerator if there is one, and bf16 where the hardware supports it natively: NVIDIA GPUs from
    Ampere on, CPUs with AVX512-BF16 or AMX. On other hardware bf16 is emulated and slower than fp32. If ``threads`` is
    None, ``OMP_NUM_THREADS``, the CPU affinity of the process and the CPU limit of its container decide.

    Raises:
        RecipeError: the machine does not have the device, or more threads are set than any machine can use.
    """
    if threads is not None and threads > MAX_THREADS:
        raise RecipeError(f"train.threads: is {threads:,}; set at most {MAX_THREADS:,}.")
    selected = _select_device(device)
    threads, threads_reason = (threads, "") if threads is not None else default_threads()
    is_native, hardware = _bf16_is_native(selected)
    bf16 = is_native if precision == "auto" else precision == "bf16"
    reason = hardware if precision == "auto" else "as set"
    return ComputeConfig(selected, bf16, min(threads, MAX_THREADS), reason, threads_reason)


def set_threads(compute: ComputeConfig) -> None:
    """Set the number of threads of torch and of the tokenizers library for the whole process."""
    torch.set_num_threads(compute.threads)
    pool.threads = compute.threads


_reuse_lock = threading.Lock()
_reusers = 0


@contextlib.contextmanager
def reuse_freed_memory() -> Iterator[None]:
    """Call :func:`keep_freed_memory`; at the end restore glibc's defaults, unless another block still runs.

    glibc cannot report its thresholds, and by default raises them when a process frees larger blocks. Any process that
    has freed a block of 32 MiB has the thresholds that are set at the end.
    """
    global _reusers
    with _reuse_lock:
        _reusers += 1
    keep_freed_memory()
    try:
        yield
    finally:
        with _reuse_lock:
            _reusers -= 1
            if not _reusers and _set_thresholds(_MMAP_THRESHOLD_MAX, 2 * _MMAP_THRESHOLD_MAX):
                release_free_memory()


@lru_cache(maxsize=1)
def raise_allocator_thresholds() -> None:
    """Let glibc reuse freed blocks of up to 32 MiB, by freeing one such block; nothing is configured.

    Its thresholds follow the largest block that was freed. Until then, every intermediate result of a
    prediction comes from new pages, which took a tenth of the time (docs/background/log.md, 2026-11-29).
    """
    torch.empty(_MMAP_THRESHOLD_MAX - (1 << 16), dtype=torch.uint8)


def keep_freed_memory() -> bool:
    """Make glibc reuse freed memory, for the whole process, instead of returning every large block to the system.

    Each training step allocates and frees the same tensors. With glibc's defaults,
    blocks over 128 KiB to 32 MiB come from new pages each time, which took up to a quarter of a step
    (docs/background/log.md, 2026-11-21).

    Returns:
        Whether the thresholds were set: on Linux with glibc, unless the user has set them.
    """
    return _set_thresholds(_MMAP_THRESHOLD_MAX, (1 << 31) - 1)


def _set_thresholds(mmap: int, trim: int) -> bool:
    """Set glibc's thresholds, in bytes, unless the user has set them."""
    by_user = any(os.environ.get(f"MALLOC_{name}_THRESHOLD_") for name in ("MMAP", "TRIM"))
    if by_user or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, mmap) and mallopt(_M_TRIM_THRESHOLD, trim))


def release_free_memory() -> bool:
    """Return freed memory that :func:`keep_freed_memory` keeps to the system; call it rarely, not after every step.

    Steps of varying lengths leave gaps that later steps do not fit into (docs/background/log.md, 2026-11-21).

    Returns:
        Whether any memory was returned.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    return bool(trim is not None and trim(0))


def _select_device(name: str) -> torch.device:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        device = torch.device(_best_device() if name == "auto" else name)
        is_present = available.get(device.type, False)
        is_present &= device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()
    except RuntimeError:  # torch does not know the name
        is_present = False
    if not is_present:
        devices = ", ".join(name for name, is_available in available.items() if is_available)
        raise RecipeError(f"train.device: there is no {name} on this machine; it has {devices}.")
    return device


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
    # there is no public function for this; torch calls these before it chooses its kernels
    for function, name in (("_is_avx512_bf16_supported", "AVX512-BF16"), ("_is_amx_tile_supported", "AMX")):
        if getattr(torch.cpu, function, bool)():
            return True, f"native on this CPU, {name}"
    return False, "this CPU has no native bf16"
