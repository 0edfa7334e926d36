"""What a profile took where its results were made: its row of README's table, filled in as it is published."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat

from gfe_companion.runs.durations import Durations, elapsed_with, in_words
from gfe_companion.runs.folders import folder_of
from gfe_companion.runs.profiles import ROOT, Setting, home
from gfe_companion.studies.needs import everything_of

TABLE = re.compile(r"<!-- costs -->\n.*?<!-- /costs -->", re.DOTALL)
PEAK = "peak.json"  # in the profile's folder of build/: the most memory that a call held, and its runs side by side


def filled(page: str, setting: Setting) -> str:
    """``page``, with the profile's own row in its table of costs; the other rows stay."""
    row = row_of(setting, sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")))
    mine = re.compile(rf"(?m)^\| `{setting.profile.name}` \|.*$")
    return TABLE.sub(lambda table: mine.sub(lambda old: row or old[0], table[0]), page)


def row_of(setting: Setting, notebooks: list[Path]) -> str:
    """Time, memory and disk of the profile: of its runs by their own clocks, and of its executed ``notebooks``.

    "" unless all of these were executed; memory is that of a call with as many runs side by side, if one was measured.
    """
    build = home() / "build" / setting.name
    executed = [build / path.name for path in notebooks]
    if not all(path.exists() for path in executed):
        return ""
    durations, configs = Durations(), everything_of([path.stem for path in notebooks], setting)
    seconds = elapsed_with(setting.jobs, {config: durations.of(config) for config in configs})
    told = [nbformat.read(path, as_version=4).metadata.get("papermill", {}) for path in executed]
    seconds += sum(each.get("duration") or 0.0 for each in told)
    size = sum(map(_size, [build, setting.figures, *map(folder_of, configs)]))
    beside = f"{setting.jobs} runs side by side" if setting.jobs > 1 else "one run after another"
    memory = peak_in(build, setting.jobs)
    cells = [in_words(seconds) + f", {beside}", _gigabytes(memory) if memory else "unknown", _gigabytes(size)]
    return f"| `{setting.profile.name}` | {' | '.join(cells)} |"


def peak_in(build: Path, jobs: int) -> int:
    """The most memory, in bytes, that the processes of a call with ``jobs`` runs side by side held; 0 if unknown."""
    try:
        told = json.loads((build / PEAK).read_text(encoding="utf-8"))
        return int(told["bytes"]) if told["jobs"] == jobs else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
