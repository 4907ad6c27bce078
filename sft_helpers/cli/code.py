"""The command about code: lint."""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sft_helpers.cli.printing import print_json

if TYPE_CHECKING:
    from sft_helpers.lint import Report as Findings

LEVELS = {"error": "bold red", "warning": "yellow", "note": "cyan", "unknown": "dim"}


def lint(args: argparse.Namespace) -> int:
    """Read code without running it, and compare it with the installed packages.

    Tutorials are written for the TRL of their day. `lint` names every import, argument and value
    that the installed trl, transformers, peft, bitsandbytes and datasets refuse (error), ignore
    (warning) or will drop (note), with file, cell and line, and what to write instead. What
    depends on a condition or on another file is "unknown", never guessed. The YAML of `trl sft`
    is read by `sft-helpers preflight`.

    A line that shows an old form on purpose ends in `# lint: ok`; a notebook cell can carry the
    tag `old-form`.

    Exit code 0: nothing at error or warning level; 1: something; 2: a path or a file could not
    be read (the others were).
    """
    from rich.console import Console

    from sft_helpers import lint as room

    console = Console(stderr=args.json)
    with console.status("Reading the installed packages (5 to 20 seconds) ..."):
        report = room.lint(args.paths, repair=args.fix)
    if args.json:
        print_json(report.to_json())
    else:
        _show_findings(report, console, unknown=args.unknown)
    for problem in report.unreadable:
        print(f"sft-helpers lint: {problem}", file=sys.stderr)
    if report.unreadable:
        return 2
    return 1 if report.count("error") + report.count("warning") else 0


def _show_findings(report: Findings, console: Any, *, unknown: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from sft_helpers.installed import versions

    for finding in report.mended:
        change = " → ".join((finding.rename or {}).values())
        console.print(f"[green]changed[/] {escape(finding.place)}: {escape(change)}")
    shown = [row for row in report.findings if unknown or row.severity != "unknown"]
    for file, rows in groupby(shown, key=lambda row: row.file):
        table = Table(title=escape(file), title_justify="left", title_style="bold", expand=True)
        table.add_column("line", no_wrap=True)
        table.add_column("level", no_wrap=True)
        table.add_column("what", ratio=1, overflow="fold")
        table.add_column("instead", ratio=1, overflow="fold")
        for row in rows:
            level = f"[{LEVELS[row.severity]}]{row.severity}[/]"
            where = row.place.removeprefix(row.file).lstrip(" :")
            table.add_row(escape(where), level, escape(row.message), escape(row.fix))
        console.print(table)
    counts = {name: report.count(name) for name in ("error", "warning", "note", "unknown")}
    told = ", ".join(f"{many} {name}{'s' if many != 1 else ''}" for name, many in counts.items())
    files = "1 file" if report.files == 1 else f"{report.files} files"
    console.print(f"{files}: {told.replace('unknowns', 'unknown')}.")
    if counts["unknown"] and not unknown:
        console.print("[dim]What cannot be told without running the code: --unknown lists it.[/]")
    if any(row.rename for row in shown):
        console.print("Plain renames can be made for you: --fix.")
    if shown:
        lessons = ", ".join(sorted({f"notebooks/{row.lesson}" for row in shown}))
        console.print(f"Explained in {escape(lessons)}.")
    held = ", ".join(f"{name} {version or 'missing'}" for name, version in versions().items())
    console.print(f"[dim]Compared with {held}.[/]")
