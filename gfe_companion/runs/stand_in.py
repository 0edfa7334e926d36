"""A stand-in for a run, which takes a known time and no processor: it measures what a grid costs besides its runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.train import Train

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset


@dataclass(frozen=True)
class Sleeps(RunConfig):
    """Sleeps for ``seconds``; ``number`` tells it from others, ``after`` is what it waits for."""

    number: int
    seconds: float
    after: tuple[Sleeps, ...] = ()

    @property
    def name(self) -> str:
        """Its number."""
        return f"sleeps-{self.number}"

    @property
    def work(self) -> tuple[str, int]:
        """Each is of a kind of its own seconds."""
        return f"{type(self).__name__} for {self.seconds} s", 1

    @property
    def trained(self) -> Train:
        """A training on embedded data, which nothing has to fetch."""
        return Train("mnist", True, 0, None, (16,))

    def dependencies(self) -> tuple[RunConfig, ...]:
        """Those that it waits for."""
        return self.after

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Sleep. One row, whose loss is its number; one more than the sum of what it waited for is kept."""
        time.sleep(self.seconds)
        total = 1 + sum(int(weights["total"]) for weights in needed)
        return pd.DataFrame({"loss": [float(self.number)]}), {"total": torch.tensor(total)}
