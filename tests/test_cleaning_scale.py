"""The same rules inside a datatrove pipeline (optional extra `scale`)."""

from __future__ import annotations

import json

import pytest

from data.make.dirty import dirty_rows, eval_rows
from sft_helpers.cleaning import clean
from sft_helpers.cleaning.funnel import DEFAULT_RULES

pytest.importorskip("datatrove", reason="datatrove (extra `scale`) is not installed")


def test_a_pipeline_gives_the_same_rows(tmp_path):
    from sft_helpers.cleaning.pipeline import run_locally

    rows = dirty_rows()[0][:300]
    source = tmp_path / "in"
    source.mkdir()
    for part in range(2):
        lines = (json.dumps(row) + "\n" for row in rows[part::2])
        (source / f"{part}.jsonl").write_text("".join(lines))
    single = [rule for rule in DEFAULT_RULES if rule.stage < 2]
    counts = run_locally(source, tmp_path / "out", tasks=2, eval_rows=eval_rows())
    wanted = clean(rows, single, eval_rows=eval_rows())
    assert counts["total"] == 300
    assert counts["forwarded"] == wanted.report.rows_kept
    dropped = {name: n for name, n in counts.items() if name.startswith("dropped_")}
    assert dropped == {f"dropped_{name}": n for name, n in wanted.report.dropped.items()}
    written = [
        json.loads(line)
        for path in (tmp_path / "out" / "rows").iterdir()
        for line in path.read_text().splitlines()
    ]
    by_id = {row["id"]: row for row in wanted.rows}
    assert {row["id"]: row["messages"] for row in written} == {
        name: row["messages"] for name, row in by_id.items()
    }
