"""What the loss counts: too much, nothing, or everything but the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sft_helpers.formats.kinds import format_of
from sft_helpers.preflight.findings import Finding, finding
from sft_helpers.templates.checks import trl_verdict

if TYPE_CHECKING:
    from sft_helpers.preflight.setup import Setup


def check(setup: Setup) -> Iterator[Finding]:
    """Every check of the labels, which are those that `SFTTrainer` made."""
    yield from _flags(setup)
    yield from _nothing(setup)
    if setup.prepared.dataset is not None:
        yield from _everything(setup)
        yield from _end(setup)


def _flags(setup: Setup) -> Iterator[Finding]:
    """Loss settings that do nothing for this kind of rows.

    sft_trainer.py, build_labels: `completion_only_loss` counts only where there is a
    completion_mask; TRL refuses `assistant_only_loss` for rows that are no conversation.
    """
    from trl.data_utils import is_conversational

    args, columns = setup.args, set(setup.dataset.column_names)
    pairs = {"prompt", "completion"} <= columns or "completion_mask" in columns
    if args.completion_only_loss and not pairs:
        yield finding(
            "mask.flag_without_effect",
            "completion_only_loss=True does nothing here: these rows have no prompt and completion",
            "leave completion_only_loss out"
            if args.assistant_only_loss
            else "assistant_only_loss: true"
            if setup.conversational
            else "store rows as prompt and completion",
            severity="note" if args.assistant_only_loss else None,
        )
    # asked before keys are renamed, so `from` and `value` do not count (sft_trainer.py:933)
    if args.assistant_only_loss and not is_conversational(setup.dataset[0]):
        yield finding(
            "mask.flag_without_effect",
            "SFTTrainer stops: assistant_only_loss=True needs messages (roles and contents), and"
            " the first row has none",
            "convert the rows with `sft-helpers convert IN OUT --to messages`, or leave the flag"
            " out",
            severity="error",
        )


def _nothing(setup: Setup) -> Iterator[Finding]:
    """Rows in which no label counts.

    With assistant_only_loss TRL raises RuntimeError for such a row (sft_trainer.py, tokenize_fn);
    else they train nothing, with loss 0.0 when all are so (TRL issues 3927 and 6025).
    """
    prepared = setup.prepared
    if prepared.problem and "no assistant tokens" in prepared.problem:
        if prepared.bad_row not in set(setup.scan.faulty):
            yield finding(
                "mask.all_masked",
                "SFTTrainer stops: the template marks no token of this row as the assistant's",
                "look at the {% generation %} markers of the template, and at this row",
                [] if prepared.bad_row is None else [prepared.bad_row],
                sample=setup.sample,
            )
        return
    yield from setup.about(
        "mask.all_masked",
        "no label counts: such a row trains nothing",
        "drop these rows, or mend the column that masks them",
        prepared.stats.supervised == 0,
    )


def _everything(setup: Setup) -> Iterator[Finding]:
    """Loss on questions and headers too: TRL's default for messages and text.

    sft_trainer.py: without a mask column labels are a copy of input_ids (open-r1 issue 517,
    smol-course issue 23).
    """
    stats, columns = setup.prepared.stats, set(setup.dataset.column_names)
    whole = (stats.supervised == stats.lengths) & (stats.lengths > 0)
    if not whole.all() or "labels" in columns:
        return
    if "completion_mask" in columns or "assistant_masks" in columns:
        message = "the mask column is ignored, and every token counts in the loss"
        fix, severity = "completion_only_loss: true", None
    elif not setup.conversational:
        known = format_of(setup.dataset[0])
        if not known or known.name != "chatml":
            return  # plain text, or strings: there is no question to leave out
        message = "these texts are rendered conversations: the questions are trained too"
        fix, severity = "convert them to messages, and set assistant_only_loss: true", "note"
    elif setup.args.completion_only_loss is False and {"prompt", "completion"} <= columns:
        message = "you chose completion_only_loss=False: the prompts are trained too"
        fix, severity = "nothing, if you mean it; else leave completion_only_loss out", "note"
    else:
        message = (
            "every token counts in the loss, also the user's and the system's: the model learns to"
            " write questions"
        )
        fix, severity = _mask_answers(setup), None
    yield finding(
        "mask.full_sequence",
        message,
        fix,
        setup.prepared.rows[:5],
        count=len(whole),
        severity=severity,  # type: ignore[arg-type]
        sample=setup.sample,
    )


def _mask_answers(setup: Setup) -> str:
    """The setting that trains answers only, if TRL takes it for this template."""
    if trl_verdict(setup.trained_tokenizer).outcome == "refused":
        return "store rows as prompt and completion: TRL finds no answers in this template's text"
    return "assistant_only_loss: true"


def _end(setup: Setup) -> Iterator[Finding]:
    """An end token behind the answer that does not count in the loss: the model never stops.

    The loss looks healthy all the same (run: mean loss 1.50 against 1.56); TRL warns of one cause,
    markers that leave the token out (sft_trainer.py, is_chat_template_stop_token_trained).
    """
    typical = setup.prepared.typical
    share = typical.masked_end.sum() / max(1, int(np.count_nonzero(typical.supervised)))
    yield from setup.about(
        "mask.end_token_unsupervised",
        f"the answer counts in the loss but its end token does not ({share:.0%} of the rows):"
        " the model will not learn to stop",
        "put the end token inside {% generation %} … {% endgeneration %}, or the completion",
        setup.prepared.stats.masked_end,
    )
