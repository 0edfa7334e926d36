"""Bars: over a grid of runs, with what runs, the last loss and the time that is left; and over what a page computes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from threading import Event, Thread
from typing import Any, TypeVar

from tqdm import tqdm

from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.durations import Durations, elapsed_with, in_words
from gfe_companion.runs.folders import Run

SHOWN_EVERY_S = 2.0
FORMAT = "{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"
FORMAT_OF_ITEMS = "{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}, about {remaining} left"
Item = TypeVar("Item")


def on_a_page() -> bool:
    """Whether a reader watches a notebook: kernels of JupyterLab are told, others are known by where they print."""
    told = os.environ.get("GFE_LAB")
    return type(sys.stdout).__module__.startswith("ipykernel") if told is None else bool(told)


def _place() -> dict[str, Any]:
    """Where a bar goes: on a page not to stderr, which is shown in red, and away at its end."""
    return {"file": sys.stdout, "leave": False, "ncols": 110} if on_a_page() else {}


def over(items: Iterable[Item], said: str) -> Iterable[Item]:
    """``items``, with a bar on the page of a reader who has waited for two seconds; elsewhere there is none."""
    return tqdm(list(items), said, bar_format=FORMAT_OF_ITEMS, delay=SHOWN_EVERY_S, disable=not on_a_page(), **_place())


class Progress:
    """A bar over ``configs``, shown while it is entered and brought up to date by :meth:`done`.

    ``state`` says how many runs go at this moment, and a remark, "" where there is nothing to remark. The time left is
    that of earlier runs of the same settings or the same kind of work, these ones included, shared among those at work.
    """

    def __init__(
        self, configs: Iterable[RunConfig], durations: Durations, state: Callable[[int], tuple[int, str]]
    ) -> None:
        self.left = dict.fromkeys(configs)
        self.durations, self.state = durations, state
        self.loss, self.since, self._over = "", time.monotonic(), Event()
        self.bar = tqdm(total=len(self.left), desc="runs", unit="run", bar_format=FORMAT, **_place())
        self.thread = Thread(target=self._show_now_and_then, daemon=True)

    def __enter__(self) -> Progress:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.thread.join()
        self._show()
        self.bar.close()

    def done(self, run: Run) -> None:
        """Count ``run`` as done, and show its loss."""
        self.left.pop(run.config, None)
        self.durations.take(f"{run.config.name}-{run.config.key}", run.provenance)
        self.loss, self.since = _loss(run) or self.loss, time.monotonic()
        self.bar.update()

    def told(self) -> str:
        """What stands behind the bar: how many are running, the last loss, the time left, a remark."""
        running, remark = self.state(len(self.left))
        told = [f"{running:,} running", self.loss, self._time_left(running), remark]
        return ", ".join(each for each in told if each)

    def _time_left(self, running: int) -> str:
        seconds = {config: self.durations.of(config) for config in tuple(self.left)}
        known = [each for each in seconds.values() if each is not None]
        if not known or not running:
            return ""
        guessed = {config: sum(known) / len(known) if each is None else each for config, each in seconds.items()}
        left = elapsed_with(running, guessed) - (time.monotonic() - self.since)
        return f"about {in_words(max(left, 1.0))} left"

    def _show(self) -> None:
        self.bar.set_postfix_str(self.told(), refresh=True)

    def _show_now_and_then(self) -> None:
        pause = SHOWN_EVERY_S
        while not self._over.wait(pause):
            started = time.monotonic()
            self._show()
            pause = max(SHOWN_EVERY_S, 20 * (time.monotonic() - started))  # of large grids, no more than a twentieth


def _loss(run: Run) -> str:
    """The last loss of a training, the mean loss of a test; "" for what has none."""
    for column in {"validation_loss", "loss"} & {*run.history}:
        values = run.history[column].dropna().to_list()
        if values:
            value = values[-1] if column == "validation_loss" else sum(values) / len(values)
            return f"loss {value:.4f} ({run.config.name})"
    return ""
