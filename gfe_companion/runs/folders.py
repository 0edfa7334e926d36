"""Runs on disk: where each lies, whether it is whole, and whether it is of the present code.

``runs/<name>-<ten digits of the settings>-<eight of the code>/`` is written aside and renamed when whole, so a folder
that is there is finished; ``run.json`` holds a checksum of every file, so a damaged one is noticed, and the digests of
the code, so one of older code can say what has changed. Folders of any other name are left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from gfe_companion.runs.code import Code, changed, code_key, now
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.profiles import home

FOLDER = re.compile(r"([^.].*-[0-9a-f]{10})-[0-9a-f]{8}")  # settings and code
CHECKED = ".checked"  # in the folder of a run: what its files were when their sums were right
SETTLED_S = 10  # a file system's clock is coarse: what changed less long ago may change again unseen

# Runs that this process has been given, by the name of their folder, each with the modules that changed since.
handed_out: dict[str, tuple[str, ...]] = {}
broken_off: dict[str, str] = {}  # those of them that ended early, by the name of their configuration: why


@dataclass(frozen=True)
class Run:
    """A finished run of ``config``, with its ``provenance``.

    ``older`` names the modules that changed since it was made; none, unless runs of older code were asked for.
    """

    config: RunConfig
    folder: Path
    provenance: dict
    older: tuple[str, ...] = ()

    @cached_property
    def history(self) -> pd.DataFrame:
        """The frame that the run returned, read when first asked for."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def weights(self) -> dict:
        """The tensors that the run kept."""
        return torch.load(self.folder / "weights.pt", weights_only=True, map_location="cpu")


def runs_folder() -> Path:
    """Where runs are kept."""
    return home() / "runs"


def folder_of(config: RunConfig, code: Code | None = None) -> Path:
    """Where the run of ``config`` lies under ``code``, by default that on disk now."""
    digests = (code or now()).rests_on(config)
    return runs_folder() / f"{config.name}-{config.key}-{code_key(digests)}"


def forced_since() -> float:
    """Runs that ended before this time, in seconds of the epoch, count as missing: what GFE_FORCE says, or never."""
    return float(os.environ.get("GFE_FORCE") or 0)


def keeps_runs() -> bool:
    """Whether runs of older code will do, where there are none of the present: GFE_KEEP_RUNS is 1."""
    return os.environ.get("GFE_KEEP_RUNS") == "1"


def find(config: RunConfig, code: Code, exact: bool = False) -> Run | None:
    """The run of ``config`` under ``code`` if it is there, whole and not too old; else perhaps one of older code.

    The latter where :func:`keeps_runs`, unless ``exact``. A run that is found counts as handed out.
    """
    found = read(config, folder_of(config, code))
    if found and found.provenance["ended"] < forced_since():
        found = None
    if found is None and keeps_runs() and not exact:
        found = next(iter(outdated(config, code)), None)
    if found:
        handed_out[found.folder.name] = found.older
        if failure := found.provenance.get("failure"):
            broken_off[config.name] = failure
    return found


def outdated(config: RunConfig, code: Code) -> list[Run]:
    """The whole runs of the same settings under other code than ``code``, the newest first."""
    digests, folder = code.rests_on(config), folder_of(config, code)
    found = []
    for other in _of_same_settings(runs_folder()).get(folder.name.rpartition("-")[0], ()):
        if other != folder and (run := read(config, other)):
            differ = tuple(changed(run.provenance["code"], digests))
            found.append(replace(run, older=differ))
    return sorted(found, key=lambda run: -run.provenance["ended"])


def _of_same_settings(runs: Path) -> dict[str, list[Path]]:
    """The folders of ``runs`` by the part of their names that does not stand for code; listed anew after a change."""
    try:
        changed_ns = runs.stat().st_mtime_ns
    except OSError:
        return {}
    if _listed and _listed[0] == (runs, changed_ns):
        return _listed[1]
    found: dict[str, list[Path]] = {}
    for name in sorted(os.listdir(runs)):
        if named := FOLDER.fullmatch(name):
            found.setdefault(named[1], []).append(runs / name)
    if changed_ns < time.time_ns() - SETTLED_S * 10**9:
        _listed[:] = [(runs, changed_ns), found]
    return found


_listed: list = []  # the last answer of :func:`_of_same_settings`, and the folder and time that it holds for


def finished(configs: list[RunConfig]) -> list[Run]:
    """Those of the runs of ``configs`` that are there, undamaged."""
    code = now()
    return [found for config in configs if (found := find(config, code))]


def read(config: RunConfig, folder: Path) -> Run | None:
    """The finished run in ``folder``, or None if it is missing or damaged."""
    try:
        provenance = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if provenance["sum"] != sum_of(provenance):
            return None
        if not isinstance(provenance["ended"], float) or not isinstance(provenance["code"], dict):
            return None
        return Run(config, folder, provenance) if _is_whole(folder, provenance["files"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def sum_of(provenance: dict) -> str:
    """The SHA-256 sum that stands in ``run.json`` for all else that is there."""
    rest = {name: value for name, value in provenance.items() if name != "sum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def checksum(path: Path) -> str:
    """The SHA-256 sum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(folder: Path, sums: dict[str, str]) -> bool:
    """Whether each file has its sum. Summed once: what stands for a content is remembered beside it.

    That is the file's sum, size, number and times, of which the last is the system's own: it moves with each write,
    whatever the writer says of the time.
    """
    stands: dict[str, tuple[str, int, int, int, int]] = {}
    for name, sum_ in sums.items():
        stat = (folder / name).stat()
        stands[name] = (sum_, stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    remembered = folder / CHECKED
    with suppress(OSError, ValueError):
        if json.loads(remembered.read_text(encoding="utf-8")) == {name: [*known] for name, known in stands.items()}:
            return True
    if any(checksum(folder / name) != sum_ for name, sum_ in sums.items()):
        return False
    if all(ctime < time.time_ns() - SETTLED_S * 10**9 for *_, ctime in stands.values()):
        with suppress(OSError):  # a store that may only be read is summed each time
            remembered.write_text(json.dumps(stands), encoding="utf-8")
    return True
