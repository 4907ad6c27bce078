"""Names and bounds of the claims that a run of the notebooks recorded: none lost, none changed.

`make notebooks` runs this at its end, with `SFT_CLAIMS` naming what it recorded. A claim may stand
in another notebook than it did, and new claims are welcome. Names are held to be lost only where
every notebook was run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.golden.compare import ROOT, WRITE, read, write

NAME = "claims_run.json"
RECORDED = os.environ.get("SFT_CLAIMS", "")
# Bounds that are computed from what was measured: they must be there, their value may differ.
MEASURED = {"export.gguf_exact_match", "qlora.exact_match", "qlora.fp4_error", "qlora.nf4_error"}
OPTIONAL = {  # made where DeepSpeed is installed, which is on Linux
    "scaling.traffic_zero2_over_grad_op",
    "scaling.zero2_max_loss_difference",
    "scaling.zero2_share_of_moments",
    "scaling.zero2_share_of_weights",
}


@pytest.mark.skipif(not RECORDED, reason="make notebooks runs it: SFT_CLAIMS names its record")
def test_a_run_makes_every_claim_with_its_bounds() -> None:
    lines = [json.loads(line) for line in Path(RECORDED).read_text(encoding="utf-8").splitlines()]
    now: dict[str, dict[str, Any]] = {}
    for line in sorted(lines, key=lambda line: (line["name"], str(line["low"]))):
        bounds = [line["low"], line["high"]]
        if line["name"] in MEASURED:
            bounds = [None if bound is None else "measured" for bound in bounds]
        entry = now.setdefault(line["name"], {"notebook": line["notebook"], "bounds": []})
        if bounds not in entry["bounds"]:  # a claim in a loop may have several
            entry["bounds"].append(bounds)
    if WRITE:
        write(NAME, now)
        return
    held = read(NAME)
    stems = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    complete = stems <= {line["notebook"] for line in lines}
    wrong = [
        f"bounds of {name}: were {held[name]['bounds']}, are {now[name]['bounds']}"
        for name in sorted(held.keys() & now.keys())
        if held[name]["bounds"] != now[name]["bounds"]
    ]
    if complete:
        lost = sorted(held.keys() - now.keys() - OPTIONAL)
        wrong += [f"lost: {name} of {held[name]['notebook']}" for name in lost]
    assert not wrong, "\n".join(wrong)
