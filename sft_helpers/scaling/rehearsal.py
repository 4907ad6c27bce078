"""A rehearsal on a CPU: what lets two processes without GPUs be sharded as two GPUs would be.

On a CPU accelerate ignores a request for FSDP and runs plain data parallelism, without a word;
DeepSpeed compiles a C++ extension at its first start. Both are changed here for this process only,
and only when `SFT_REHEARSAL=1`. Nothing here is needed, or wanted, where there are GPUs.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

from sft_helpers.errors import EnvironmentProblem

INSTALL_DEEPSPEED = (
    "pip install wheel setuptools && DS_BUILD_OPS=0 DS_ACCELERATOR=cpu"
    " pip install --no-build-isolation deepspeed"
)


def is_on(environment: Mapping[str, str], name: str) -> bool:
    """Whether a switch that accelerate hands to its processes is set."""
    return environment.get(name, "").lower() in ("1", "true", "yes")


def has_deepspeed() -> bool:
    """Whether DeepSpeed is installed; it is not imported."""
    return importlib.util.find_spec("deepspeed") is not None


def require_deepspeed() -> None:
    """Check that DeepSpeed is installed.

    Raises:
        EnvironmentProblem: it is not, or cannot be on this system.
    """
    if has_deepspeed():
        return
    where = f"{platform.system()}, Python {platform.python_version()}"
    raise EnvironmentProblem(
        "ZeRO needs DeepSpeed, which is not installed (it is the kit's extra `scaling`)",
        where=where,
        hint=INSTALL_DEEPSPEED
        if sys.platform == "linux"
        else "use a Linux machine, or FSDP2 with sharded gradients instead: it shards as much",
    )


def rehearse_on_cpu() -> None:
    """Prepare this process; call it before the first `TrainingArguments` is made.

    FSDP: `PartialState` is told that processes of a gloo group on CPUs are devices that can be
    sharded; everything after that is accelerate's and torch's own code. Pass `use_cpu=False`, so
    that accelerate opens the group itself, with the `ddp_timeout` that was asked for.
    DeepSpeed: its shared-memory extension is declared unavailable, so it takes torch's gloo and
    needs no compiler.
    """
    if is_on(os.environ, "ACCELERATE_USE_FSDP"):
        _let_accelerate_shard_on_cpu()
    if is_on(os.environ, "ACCELERATE_USE_DEEPSPEED"):
        require_deepspeed()
        os.environ["DS_ACCELERATOR"] = "cpu"
        deepspeed = importlib.import_module("deepspeed")
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _let_accelerate_shard_on_cpu() -> None:
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    def prepare_backend(self: Any, *_: Any, **__: Any) -> tuple[str, Any]:
        return "gloo", DistributedType.MULTI_GPU

    def set_device(self: Any) -> None:
        self.device = torch.device("cpu")

    PartialState._prepare_backend = prepare_backend
    PartialState.set_device = set_device
