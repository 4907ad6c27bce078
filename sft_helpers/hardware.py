"""What this machine has: processor, cores, memory, GPU, and whether its bf16 is fast."""

from __future__ import annotations

import functools
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import joblib
import psutil


@dataclass(frozen=True)
class Hardware:
    """The machine as far as training cares.

    `kind` is cpu, mps or cuda. `cores` counts what this process may use. Memory is in GiB;
    `bf16_ratio` is the time of a bf16 matrix product over the time in fp32, measured on a CPU only.
    """

    kind: str
    name: str
    gpu_memory_gib: float | None = None
    capability: tuple[int, int] | None = None
    cores: int = 1
    memory_gib: float | None = None
    bf16_ratio: float | None = None

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
    """Look at this machine; the answer is kept, so the probe (under 0.2 s) runs once.

    joblib counts the cores that this process may use: affinity and a container's quota, a part of
    a core counted as a whole one.
    """
    cores, memory, processor = joblib.cpu_count(), _memory() / 2**30, _processor()
    try:
        import torch
    except (ImportError, OSError):  # missing, or its libraries do not load
        return Hardware("cpu", processor, cores=cores, memory_gib=memory)
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        capability = int(found.major), int(found.minor)
        return Hardware(
            "cuda", str(found.name), found.total_memory / 2**30, capability, cores, memory
        )
    if torch.backends.mps.is_available():
        return Hardware("mps", processor, cores=cores, memory_gib=memory)
    return Hardware("cpu", processor, None, None, cores, memory, measure_bf16_ratio())


def measure_bf16_ratio(seconds: float = 0.15) -> float:
    """Time of a 256 by 256 bf16 product over the fp32 time, one thread, best of many.

    The two take turns, and the best time counts: other work on the machine only makes one slower.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
        matrices = {dtype: torch.ones(256, 256, dtype=dtype) for dtype in times}
        stop = time.perf_counter() + seconds
        while len(times[torch.bfloat16]) < 2 or time.perf_counter() < stop:
            for dtype, matrix in matrices.items():
                start = time.perf_counter()
                _ = matrix @ matrix  # the first builds its kernel, and is never the best
                times[dtype].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times[torch.bfloat16]) / min(times[torch.float32])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _memory() -> float:
    """Bytes of memory of the machine, or fewer where a container is held to fewer."""
    total = float(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, float((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is no limit ("max")
            continue
    return total
