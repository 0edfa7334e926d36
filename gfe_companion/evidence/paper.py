"""What the paper prints and claims, as ``paper.toml`` has it."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

import pandas as pd


@lru_cache(maxsize=1)
def paper() -> dict:
    """All that ``paper.toml`` says: the paper's tables, claims and errata."""
    with (Path(__file__).parent / "paper.toml").open("rb") as file:
        return tomllib.load(file)


def paper_table(name: str) -> pd.DataFrame:
    """A table of the paper from ``paper.toml``, one row a row, its key (images or dataset) as the index."""
    columns = paper()[name]
    frame = pd.DataFrame({key: value for key, value in columns.items() if isinstance(value, list)})
    return frame.set_index(frame.columns[0])
