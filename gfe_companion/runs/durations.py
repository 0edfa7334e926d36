"""How long runs take: what the store says of earlier ones, and what follows for others and for many."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.folders import FOLDER, runs_folder


class Durations:
    """How long earlier runs took, whatever their code."""

    def __init__(self) -> None:
        self.same: dict[str, tuple[float, float]] = {}  # of the same settings: when, seconds
        self.alike: dict[str, list[float]] = {}  # seconds an image, by kind of work
        self._medians: dict[str, float] = {}
        for path in sorted(runs_folder().glob("[!.]*/run.json")):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            named = FOLDER.fullmatch(path.parent.name)
            if named:
                self.take(named[1], told)
        except (OSError, ValueError):
            return

    def take(self, name: str, provenance: dict) -> None:
        """Learn from a run of this ``name``, "<name>-<key>"; a provenance that is not whole tells nothing."""
        try:
            ended, seconds, work = float(provenance["ended"]), float(provenance["duration_s"]), provenance["work"]
            kind, images = _everywhere(str(work["kind"])), int(work["images"])
        except (ValueError, KeyError, TypeError):
            return
        self.same[name] = max(self.same.get(name, (0.0, 0.0)), (ended, seconds))
        self.alike.setdefault(kind, []).append(seconds / max(images, 1))
        self._medians.pop(kind, None)

    def of(self, config: RunConfig) -> float | None:
        """Seconds that ``config`` may take: as long as it took before, or as others of its kind for so many images."""
        if before := self.same.get(f"{config.name}-{config.key}"):
            return before[1]
        kind, images = _everywhere(config.work[0]), config.work[1]
        if kind in self.alike and kind not in self._medians:
            self._medians[kind] = median(self.alike[kind])
        return self._medians[kind] * images if kind in self._medians else None


def _everywhere(kind: str) -> str:
    """A kind of work as every process would name it: without the addresses of its functions."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", kind)


def longest_first(configs: Iterable[RunConfig], durations: Durations) -> list[RunConfig]:
    """``configs`` with the longest first, and before them those of unknown length: so none is waited for at the end."""
    seconds = {config: durations.of(config) for config in configs}
    return sorted(seconds, key=lambda config: -(float("inf") if seconds[config] is None else seconds[config]))  # type: ignore[operator]


def elapsed_with(workers: int, seconds: Mapping[RunConfig, float | None]) -> float:
    """Seconds until all these runs are done, by as many ``workers`` as that; a run of unknown length counts as none.

    No less than all of it shared evenly, and no less than the longest chain of runs of which each waits for others.
    """
    chains: dict[RunConfig, float] = {}

    def chain(config: RunConfig) -> float:
        if config not in chains:
            before = max(map(chain, config.dependencies()), default=0.0)
            chains[config] = before + (seconds.get(config) or 0.0)
        return chains[config]

    longest = max(map(chain, seconds), default=0.0)
    return max(longest, sum(each or 0.0 for each in seconds.values()) / max(workers, 1))


def in_words(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
