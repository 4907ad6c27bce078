"""What is asserted of each patient of the clinic, and the table of the ward round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sft_helpers import expect

if TYPE_CHECKING:
    from sft_helpers.clinic import Case
    from sft_helpers.clinic.runs import Chart
    from sft_helpers.preflight.findings import Report


class Ledger:
    """The patients so far: a row of the ward round for each, in `entries`."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def discharge(self, case: Case, report: Report, sick: Chart, healed: Chart) -> None:
        """Assert the symptom, who found the cause, and the cure; keep the row.

        Args:
            case: the patient.
            report: what preflight said of the sick run.
            sick, healed: the run as it came, and after the mend.

        Raises:
            AssertionError: one of the three does not hold here.
        """
        name = "clinic." + case.name.replace(" ", "_")
        ill, well = (chart.measures[case.measure] for chart in (sick, healed))
        seen = report.codes if case.found_by == "preflight" else {s.code for s in sick.signs}
        found = case.code in seen
        for end, value, (low, high) in (
            ("sick", ill, case.sick_bounds),
            ("found", found, (1, None)),
            ("healed", well, case.healed_bounds),
        ):
            expect(f"{name}_{end}", value, low=low, high=high)
        self.entries.append(
            {"patient": case.name, "was": case.cause, "measured": case.shows, "sick": ill}
            | {"mended": well, "found by": case.found_by, "code": case.code}
            | {"caught": found, "healed": well != ill}
        )
