"""The first cell of every notebook: what machine this is, which versions, quiet libraries."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from sft_helpers import progress, results
from sft_helpers.quiet import quiet_libraries

if TYPE_CHECKING:
    from sft_helpers.profiles import Profile


def setup(notebook: str, *, model: str = "tiny", seed: int = 0) -> Profile:
    """Prepare a notebook and print the machine's profile and the versions.

    Sets the number of threads and the random seeds, silences progress output of the libraries
    that a learner does not need, starts the clock that `expect()` records, and notes in the
    learner's own progress file that the notebook was opened.

    Args:
        notebook: name of the notebook without its ending, for example `00_quickstart`.
        model: the model to plan for: "tiny", "smollm2", a hub id or a folder.
        seed: seed of Python, NumPy and torch.

    Returns:
        The profile, with the reason for each of its choices.
    """
    quiet_libraries()
    import datasets
    import torch
    import transformers
    import trl

    from sft_helpers.profiles import profile
    from sft_helpers.versions import tested_versions

    results.begin(notebook)
    progress.begin(notebook)
    chosen = profile(model=model)
    chosen.use_threads()
    transformers.set_seed(seed)
    print(f"Profile {chosen.name}: {chosen.hardware.name}")
    for setting in ("model", "method", "precision", "threads"):
        choice = getattr(chosen, setting)
        line = f"  {setting:<10}{choice.value!s:<6}{choice.why}"
        print(textwrap.fill(line, 76, subsequent_indent=" " * 18))
    versions = {"torch": torch, "transformers": transformers, "datasets": datasets, "trl": trl}
    print("Versions: " + ", ".join(f"{name} {lib.__version__}" for name, lib in versions.items()))
    print(_checked(trl.__version__, tested_versions().get("trl")))
    return chosen


def _checked(installed: str, tested: str | None) -> str:
    if tested is None or tested == installed:
        return f"Checked with TRL {installed if tested else 'another release'}."
    return (
        f"Checked with TRL {tested}; you have {installed}: run `sft-helpers doctor` if something"
        " behaves otherwise."
    )
