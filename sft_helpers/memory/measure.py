"""What a training run really took: the peak of PyTorch's own allocator, read from its profiler.

Resident memory misleads: the C library keeps freed blocks, and weights of a safetensors file are
pages of that file. The allocator's record has neither problem, and needs no GPU.
"""

from __future__ import annotations

import time
from typing import Any

import torch


def measured_peak(trainer: Any) -> int:
    """Train, and return the largest number of bytes that PyTorch's CPU allocator had given out.

    The highest moment comes with the second optimizer step, when the optimizer has its states:
    give the trainer `max_steps=2`.

    Args:
        trainer: an `SFTTrainer` on the CPU.
    """
    from torch._C._profiler import _EventType
    from torch.profiler import ProfilerActivity, profile

    from sft_helpers.memory.model import constants_of

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        copied: set[int] = set()  # what is there already is copied, so that the record has it too
        for tensor in [*trainer.model.parameters(), *trainer.model.buffers()]:
            for part in [tensor, *constants_of(tensor)]:
                if part.untyped_storage().data_ptr() not in copied:
                    part.data = part.data.clone()
                    copied.add(part.untyped_storage().data_ptr())
        trainer.train()
    waiting = list(recorded.profiler.kineto_results.experimental_event_tree())
    blocks = []  # (nanosecond, address, bytes: below 0 if freed)
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag == _EventType.Allocation:
            _, block = event.typed
            blocks.append((event.start_time_ns, block.ptr, block.alloc_size))
    held: dict[int, int] = {}
    total = highest = 0
    for _, address, size in sorted(blocks, key=lambda block: block[0]):
        if size > 0:
            held[address] = size
            total += size
            highest = max(highest, total)
        else:  # a block that is older than the record is not in the total either
            total -= held.pop(address, 0)
    return highest


def kept_and_seconds(model: Any, batch: Any) -> tuple[int, float]:
    """What a forward pass keeps for the backward pass, and how long both take.

    Args:
        model: a model; its gradients grow.
        batch: what it is called with, labels included.

    Returns:
        Bytes that autograd saved, the weights themselves not counted; processor seconds of a
        forward and a backward pass, the mean of five.
    """
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**batch).loss
    loss.backward()
    start = time.process_time()
    for _ in range(5):
        model(**batch).loss.backward()
    seconds = (time.process_time() - start) / 5
    return sum(size for place, size in kept.items() if place not in own), seconds


def two_steps(
    model: str,
    method: str,
    checkpointing: bool,
    length: int,
    batch: int,
    folder: str,
    *,
    packing: bool = False,
) -> Any:
    """An `SFTTrainer` for two steps on random tokens, in fp32 on the CPU, with the kit's adapter.

    Args:
        model: what `models.load` takes.
        method: "full", "lora" or "qlora".
        checkpointing: recompute activations.
        length: tokens of the longest row; the others of a batch have a few less, so that they are
            padded, as real ones are. Packed ones all have `length`.
        batch: rows at a time.
        folder: where the trainer may write.
        packing: lay the rows of a batch into one.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from sft_helpers.memory.account import Settings
    from sft_helpers.memory.predict import adapter_and_quantization
    from sft_helpers.models import load

    settings = Settings(length, batch, method, precision="fp32")
    lora, four_bit = adapter_and_quantization(settings)
    base, tokenizer = load(model, quantization=four_bit)
    whole = (packing or place % batch == 0 for place in range(2 * batch))
    sizes = [length if one else length - 3 for one in whole]
    trainer = SFTTrainer(
        base,
        SFTConfig(
            folder,
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=batch,
            max_steps=2,
            max_length=length,
            packing=packing,
            activation_checkpointing=checkpointing,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"input_ids": list(range(5, 5 + n))} for n in sizes]),
        processing_class=tokenizer,
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
