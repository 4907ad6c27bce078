"""What this machine has: processor, memory, GPU, and whether its bf16 is fast."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

# Below this time ratio bf16 is worth its lost digits.
FAST_BF16 = 0.8


@dataclass(frozen=True)
class Hardware:
    """The machine as far as training cares.

    `kind` is cpu, mps or cuda. `cores` counts what this process may use. Memory is in GiB;
    `bf16_ratio` is the time of a bf16 matrix product over the time in fp32, measured on a CPU
    only.
    """

    kind: str
    name: str
    gpu_memory_gib: float | None = None
    capability: tuple[int, int] | None = None
    cores: int = 1
    memory_gib: float | None = None
    bf16_ratio: float | None = None

    @property
    def fast_bf16(self) -> bool:
        """Whether the probe found bf16 clearly faster than fp32."""
        return self.bf16_ratio is not None and self.bf16_ratio < FAST_BF16

    def __str__(self) -> str:
        parts = [self.name]
        if self.gpu_memory_gib is not None:
            parts.append(f"{self.gpu_memory_gib:.0f} GiB on the GPU")
        if self.capability is not None:
            parts.append("compute capability {}.{}".format(*self.capability))
        parts.append(f"{self.cores} core{'s' * (self.cores != 1)}")
        if self.memory_gib is not None:
            parts.append(f"{self.memory_gib:.0f} GiB memory")
        return ", ".join(parts)


@functools.cache
def detect_hardware() -> Hardware:
    """Look at this machine; the answer is kept, so the probe (under 0.2 s) runs once."""
    cores, memory = _cores(), _memory_gib()
    processor = _processor()
    try:
        import torch
    except (ImportError, OSError):  # missing, or its libraries do not load
        return Hardware("cpu", processor, cores=cores, memory_gib=memory)
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return Hardware(
            "cuda",
            str(found.name),
            gpu_memory_gib=found.total_memory / 2**30,
            capability=(int(found.major), int(found.minor)),
            cores=cores,
            memory_gib=memory,
        )
    if torch.backends.mps.is_available():
        return Hardware("mps", processor, cores=cores, memory_gib=memory)
    return Hardware(
        "cpu", processor, cores=cores, memory_gib=memory, bf16_ratio=measure_bf16_ratio()
    )


def measure_bf16_ratio(seconds: float = 0.15) -> float:
    """Time of a 256 by 256 bf16 product over the fp32 time, one thread, best of many.

    The best time is taken because other work on the machine only ever makes one slower.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        full = torch.ones(256, 256)
        best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
        pairs = [(dtype, full.to(dtype)) for dtype in best]
        for _, matrix in pairs:
            _ = matrix @ matrix  # the first product builds its kernel
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop:
            for dtype, matrix in pairs:
                start = time.perf_counter()
                _ = matrix @ matrix
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    if best[torch.float32] == float("inf"):
        return 1.0
    return float(best[torch.bfloat16] / best[torch.float32])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_cores(Path("/sys/fs/cgroup"))
    return max(1, min(cores, quota)) if quota else cores


def _cgroup_cores(root: Path) -> int | None:
    """Cores that a container grants (cgroup 2, then 1); None without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((root / name).read_text(encoding="ascii") for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return max(1, quota // period)
    return None


def _memory_gib() -> float | None:
    """Memory of the machine, or less where a container is held to less."""
    try:
        total = float(importlib.import_module("psutil").virtual_memory().total)
    except ImportError:
        return None
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, float((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return total / 2**30
