"""Let torch claim that there is a GPU, which nobody can use: put this folder on PYTHONPATH.

It then holds in every Python process that is started. What only asks is told of an RTX 4090; what
moves a tensor to "cuda" stops with torch's own error, as the torch of the tests has no CUDA. With
`SFT_SEEN_DEVICES=FILE`, every trainer writes its device there.
"""

import importlib.abc
import importlib.machinery
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

CARD = SimpleNamespace(
    name="NVIDIA GeForce RTX 4090",
    total_memory=int(23.6 * 2**30),
    major=8,
    minor=9,
    multi_processor_count=128,
    gcnArchName="",
)


def claim(torch):
    """Answer questions about a GPU; the state of its random numbers is empty."""
    cuda = torch.cuda

    def there():
        return os.environ.get("CUDA_VISIBLE_DEVICES") != ""

    cuda.is_available = there
    cuda.device_count = lambda: int(there())
    cuda.current_device = lambda: 0
    cuda.get_device_properties = lambda device=0: CARD
    cuda.get_device_capability = lambda device=0: (CARD.major, CARD.minor)
    cuda.get_device_name = lambda device=0: CARD.name
    cuda.get_arch_list = lambda: ["sm_80", "sm_86", "sm_90"]
    cuda.is_bf16_supported = lambda including_emulation=True: True
    cuda.mem_get_info = lambda device=0: (CARD.total_memory, CARD.total_memory)
    state = torch.zeros(16, dtype=torch.uint8)
    for module in (cuda, cuda.random):
        module.get_rng_state = lambda device=0: state
        module.get_rng_state_all = lambda: [state]
        module.set_rng_state = module.set_rng_state_all = lambda *_: None
    for name in ("synchronize", "empty_cache", "set_device", "reset_peak_memory_stats"):
        setattr(cuda, name, lambda *_: None)
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved"):
        setattr(cuda, name, lambda *_: 0)
    torch._C._cuda_getCurrentRawStream = lambda device=0: 0  # bitsandbytes looks for it


def read_onto_the_cpu(safetensors):
    """PEFT reads an adapter onto the GPU and copies it to where its model is."""
    load_file = safetensors.load_file
    safetensors.load_file = lambda filename, device="cpu", **more: load_file(filename, **more)


def watch(module):
    """Have every trainer say on which device it is."""
    start = module.Trainer.__init__

    def noting(self, *args, **settings):
        start(self, *args, **settings)
        file = os.environ.get("SFT_SEEN_DEVICES")
        if file:
            with open(file, "a", encoding="utf-8") as out:
                print(self.args.device, self.model.device, file=out)

    module.Trainer.__init__ = noting


CHANGES = {
    "torch": claim,
    "safetensors.torch": read_onto_the_cpu,
    "transformers.trainer": watch,
}


class After(importlib.abc.MetaPathFinder):
    """Change a module as soon as it is imported (others may look for it before that)."""

    def find_spec(self, name, path=None, target=None):
        change = CHANGES.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if change else None
        if spec is None:
            return None
        run = spec.loader.exec_module

        def and_change(module):
            run(module)
            change(module)

        spec.loader.exec_module = and_change
        return spec


sys.meta_path.insert(0, After())
# Python imports one module of this name: the other one, which closes the network, is run here.
runpy.run_path(str(Path(__file__).parents[2] / "tools" / "offline" / "sitecustomize.py"))
