"""`make town`: write the generated folders of `data` anew, text byte for byte from a seed.

    python -m data.make                       everything (about 10 minutes on 2 cores)
    python -m data.make --text-only           all text, no pretraining (seconds)
    python -m data.make --out /tmp/new        into another folder

The pretrained weights differ in their last digits between processors and library versions.
`memory`, `launch`, `lm_eval`, `recipes` and `smollm2` were written by hand or measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from data.make import base, dirty, own, town
from data.make.formats import write_format_files

MANIFEST = "manifest.json"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        prog="python -m data.make",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = Path(__file__).resolve().parents[1]
    parser.add_argument("--out", type=Path, default=data, help="folder to write (default: data)")
    parser.add_argument("--seed", type=int, default=town.SEED, help="seed (default: %(default)s)")
    parser.add_argument("--text-only", action="store_true", help="leave the base model alone")
    usual = base.PRETRAINING["max_steps"]
    parser.add_argument(
        "--steps", type=int, default=usual, help="pretraining steps (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    args = parser.parse_args(arguments)

    for folder, maker in (("town", town), ("dirty", dirty), ("own", own)):
        for name, text in maker.text_files(args.seed).items():
            path = args.out / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    write_format_files(args.out / "formats", args.seed)
    if not args.text_only:
        base.build_base(args.out / "town", args.seed, steps=args.steps, threads=args.threads)
    write_manifest(args.out / "town", args.seed)
    print(f"Wrote town, dirty, own and formats to {args.out}")


def write_manifest(folder: Path, seed: int) -> None:
    """Write `manifest.json`: the seed, and SHA-256 and size in bytes of every file of the town."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name != MANIFEST:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            name = path.relative_to(folder).as_posix()
            files[name] = {"sha256": digest, "bytes": len(content)}
    text = json.dumps({"seed": seed, "files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
