"""Stamps: what each executed notebook made, by digest, so that a file that has changed since is not believed."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from gfe_companion.runs.profiles import home


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made_by(stamp: Path) -> dict[Path, str] | None:
    """The files that a notebook made, with their checksums; None where its ``stamp`` is gone or cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        told = json.loads(stamp.read_text(encoding="utf-8"))["made"]
        return {home() / name: str(sum_) for name, sum_ in told.items()}
    return None


def altered(stamps: Path) -> dict[Path, str]:
    """The files that are there and are not as they were made, each with the number of the notebook that made it last.

    ``stamps``: the folder of the stamps of a profile.
    """
    made: dict[Path, tuple[str, str]] = {}
    for stamp in sorted(stamps.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        made |= {path: (sum_, stamp.name[:2]) for path, sum_ in (made_by(stamp) or {}).items()}
    return {path: number for path, (sum_, number) in made.items() if path.is_file() and checksum(path) != sum_}
