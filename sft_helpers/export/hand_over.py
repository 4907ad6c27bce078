"""The whole hand-over: merge, GGUF, card, each checked; the Hub only when told."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from sft_helpers.errors import DataError, ModelError
from sft_helpers.export.card import model_card, push
from sft_helpers.export.gguf import NotWritten, converter, to_gguf
from sft_helpers.export.merge import RECORD, adapter_base, merge, read_record, save
from sft_helpers.export.serving import MISSING, SAMPLE, LlamaCpp, available, check_parity
from sft_helpers.files import write_whole
from sft_helpers.templates.render import plain_text


def hand_over(args: Namespace) -> dict[str, Any]:
    """Do what `sft-helpers export` was asked, and say what came of it.

    Args:
        args: the command's arguments; where they ask for nothing, it is merge, GGUF and card.

    Returns:
        folder, files (name → bytes), checks, problems (sentences), and what could not be checked.

    Raises:
        SFTHelpersError: there is nothing to hand over, or no converter.
    """
    if not (args.merge or args.gguf or args.card is not None or args.push):
        args.merge, args.gguf, args.card = True, "q8_0", ""
    folder: Path = args.model
    named = adapter_base(folder)
    if named is not None and args.gguf and not args.merge:
        what = "this is an adapter, and servers take a whole model"
        raise ModelError(what, where=str(folder), hint="add --merge")
    file = Path(args.card) if args.card else folder / RECORD
    record = read_record(file) if args.card or file.is_file() else None
    base = args.base or named or (record or {}).get("base")
    if args.gguf:
        converter()  # before anything is written
    model, tokenizer = merge(
        folder, base=args.base, record=record, qlora=args.qlora, dtype=args.dtype
    )
    place = args.out or folder.with_name(f"{folder.name}-export") if args.merge else folder
    found: dict[str, Any] = {"folder": str(place), "checks": {}, "problems": []}
    if args.merge:
        save(model, tokenizer, place)
        _check_saved(model, tokenizer, place, args.dtype, found)
    if args.gguf:
        try:
            written = to_gguf(place, place / f"model-{args.gguf}.gguf", args.gguf, base=base)
        except NotWritten as problem:
            found["problems"].append(f"no GGUF file: {problem}")
        else:
            _check_gguf(model, tokenizer, written, found)
    if record is None and (named is not None or args.card is not None):
        said = f"no {RECORD} in {folder}: the card says so"
        if named is not None and not args.qlora:
            said += "; the adapter was merged into the base as it is: --qlora if it was in 4 bits"
        found["not_recorded"] = said
    if args.card is not None:
        empty: dict[str, Any] = {
            "data": {}, "recipe": {}, "scores": {}, "versions": {}, "limits": [],
        }  # fmt: skip
        known = empty | {"model": place.name, "base": base or "not recorded"} | (record or {})
        try:
            text = model_card(**known)
        except TypeError as problem:
            raise DataError(str(problem), where=str(file)) from None
        write_whole(place / "README.md", text)
    if args.push:
        found["push"] = push(place, args.push, dry_run=not args.upload)
    found["files"] = {p.name: p.stat().st_size for p in sorted(place.iterdir()) if p.is_file()}
    return found


def _check_saved(model: Any, tokenizer: Any, place: Path, dtype: str, found: Any) -> None:
    """Load the folder again and compare logits."""
    from sft_helpers.models import load
    from sft_helpers.training.adapters import max_logit_difference

    again, _ = load(str(place), dtype=dtype)
    texts = [text for row in SAMPLE if (text := plain_text(tokenizer, row)[0])]
    difference = max_logit_difference(model, again, tokenizer, texts)
    found["checks"]["reload_max_logit_difference"] = difference
    if difference > 1e-4:
        found["problems"].append("the saved folder loads as another model")


def _check_gguf(model: Any, tokenizer: Any, file: Path, found: Any) -> None:
    """Let llama.cpp read the file: the ids of its prompts, and the likeliest next token."""
    import torch

    rows = [row for row in SAMPLE if plain_text(tokenizer, row)[1] is None]
    if not available() or not rows:
        why = MISSING if rows else "its chat template renders none of the kit's examples"
        found["not_checked"] = f"the GGUF file: {why}"
        return
    length = min(int(getattr(model.config, "max_position_embeddings", 2048)), 2048)
    try:
        with LlamaCpp(file, context=length) as engine, torch.inference_mode():
            table = check_parity(tokenizer, rows, {"llama.cpp": engine.prompt_ids})
            same = 0
            for row in rows:
                ids = engine.prompt_ids(row[:-1])
                likeliest = int(model(torch.tensor([ids])).logits[0, -1].argmax())
                same += engine.continuation(ids, 1) == [likeliest]
    except ModelError as problem:
        found["problems"].append(f"llama.cpp: {problem}")
        return
    found["checks"]["parity"] = float(table["equal"].mean())
    found["checks"]["same_next_token"] = same / len(rows)
    found["parity"] = [
        f"llama.cpp, prompt {row}: {difference or 'the token ids of training'}"
        for row, difference in zip(table["row"], table["difference"], strict=True)
    ]
    if not table["equal"].all():
        found["problems"].append("llama.cpp builds other token ids than training")
    if not same:
        found["problems"].append("llama.cpp computes something else from this file")
