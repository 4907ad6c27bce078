"""What a training step needs in memory, predicted without weights and without a GPU, and measured.

account   what is asked and what is answered: settings, components, the account
predict   configuration → account
model     a model without weights: shapes and counts for all rooms, fake tensors for a step
step      one step of a fake model, phase by phase
tracker   every block of memory from birth to death
plan      the largest batch for a card, and which setting frees most
measure   what a real run took
"""

from sft_helpers.memory.account import Account, Settings
from sft_helpers.memory.predict import again, predict, read_config, shapes

__all__ = ["Account", "Settings", "again", "predict", "read_config", "shapes"]
