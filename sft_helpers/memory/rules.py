"""The two estimates that most pages give, to hold beside a followed step: both leave out a lot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sft_helpers.errors import SFTHelpersError

if TYPE_CHECKING:
    from sft_helpers.memory import Account


def by_accelerate(model: str) -> int:
    """Bytes for training with Adam in fp32, as `accelerate estimate-memory` reckons them.

    Four times the size of the weights, whatever the method: it knows no adapters, no 4-bit
    training and no activations. The command itself reads models from the hub only; these are the
    functions behind it.
    """
    import torch
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes

    from sft_helpers.memory import read_config
    from sft_helpers.memory.model import skeleton

    size, _ = calculate_maximum_sizes(skeleton(read_config(model)[1], torch.float32))
    return int(estimate_training_usage(size, "float32")["step"])


def by_thumb(account: Account) -> int:
    """Bytes by the usual rule: 16 for a weight that trains, 4, 2 or 0.5 for a frozen one.

    Sixteen are weight, gradient and two AdamW moments in fp32. No activations, no loss.

    Raises:
        SFTHelpersError: unknown method.
    """
    if account.settings.method == "full":
        return 16 * account.trainable
    frozen = {"lora": 4.0 if account.settings.precision == "fp32" else 2.0, "qlora": 0.5}
    if account.settings.method not in frozen:
        raise SFTHelpersError(f"no rule for {account.settings.method}")
    return int(frozen[account.settings.method] * account.parameters + 16 * account.trainable)
