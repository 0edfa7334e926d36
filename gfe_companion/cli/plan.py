"""`./run_all.sh --plan`: what would be computed and why, how long it may take, and what would be executed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gfe_companion.cli.notebook import Notebook
from gfe_companion.runs import code
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.durations import Durations, elapsed_with, in_words
from gfe_companion.runs.folders import find, folder_of, outdated
from gfe_companion.runs.profiles import Setting
from gfe_companion.site.manifest import few_of


@dataclass
class Plan:
    """What is to be done for some notebooks; runs that several of them need are planned once.

    ``forced``: all is to be computed again. Runs of older code count as current where these are kept. ``workers`` of a
    cluster: for how long these would take is told too.
    """

    setting: Setting
    forced: bool = False
    workers: int = 0
    durations: Durations = field(default_factory=Durations)
    planned: dict[RunConfig, float | None] = field(default_factory=dict)

    def lines(self, notebook: Notebook) -> list[str]:
        """What is to be done for ``notebook``: nothing where all that it made is there."""
        why = "--force" if self.forced else notebook.why()
        if not why:
            return [f"{notebook.path.stem}: nothing to do"]
        groups: dict[str, list[RunConfig]] = {}
        counts = {"current": 0, "of older code and kept": 0, "to be computed": 0, "planned above": 0}
        present = code.now()
        waiting = deque((config, False) for config in notebook.needs())
        seen = set(waiting)
        while waiting:
            config, exact = waiting.popleft()  # exact: what is computed anew never rests on runs of older code
            found = None if self.forced else find(config, present, exact)
            if exact and (config, False) in seen and (found or config in self.planned):
                continue  # counted already, as one that the notebook asks for
            if found:
                counts["of older code and kept" if found.older else "current"] += 1
                continue
            more = [(needed, True) for needed in config.dependencies() if (needed, True) not in seen]
            seen.update(more)
            waiting += more
            if config in self.planned:
                counts["planned above"] += 1
                continue
            counts["to be computed"] += 1
            groups.setdefault(self._reason(config, present), []).append(config)
            self.planned[config] = self.durations.of(config)
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        lines = [f"{notebook.path.stem}: would be executed ({why})", f"  runs: {said or 'none'}"]
        for reason, configs in groups.items():
            names, seconds = few_of(config.name for config in configs), [self.planned[config] for config in configs]
            lines.append(f"  {reason}: {names} -- {told(seconds)}")
        return lines

    def _reason(self, config: RunConfig, present: code.Code) -> str:
        before = outdated(config, present)
        if folder_of(config, present).exists():
            return "computed again, --force" if self.forced else "damaged, to be computed again"
        if before:
            return f"out of date, {', '.join(before[0].older)} changed"
        return "not there yet"

    def total(self) -> str:
        """All that is to be computed, and the time that it may take."""
        if not self.planned:
            return "in all: nothing to compute"
        seconds = list(self.planned.values())
        known = [each for each in seconds if each is not None]
        text = f"in all: {len(seconds):,} runs, {told(seconds)} on one core"
        for count, where in ((self.setting.jobs, "side by side"), (self.workers, "workers")):
            if known and count > 1:
                text += f", {in_words(elapsed_with(count, self.planned))} with {count:,} {where}"
        return text


def told(seconds: Iterable[float | None]) -> str:
    """A time in words, and of how many runs it is unknown."""
    seconds = list(seconds)
    known = [each for each in seconds if each is not None]
    if not known:
        return "time unknown"
    rest = len(seconds) - len(known)
    return f"about {in_words(sum(known))}" + (f", and unknown for {rest} of them" if rest else "")
