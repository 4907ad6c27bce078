"""Libraries that say only what matters for a run."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Switch off progress bars and notices that say nothing about a run.

    Warnings about the training itself come from TRL's logger and stay.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # DeepSpeed warns on stdout, in the middle of what `--json` prints; it sets its level when it is
    # imported, so only a filter holds
    logging.getLogger("DeepSpeed").addFilter(_matters)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # transformers 5.23 about a name that PEFT still uses: nothing that a learner wrote
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU")
