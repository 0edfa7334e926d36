"""What a study hands to a page: pictures, tables and sentences, each with all that its files need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure . ``name`` of its files . ``alt``, what it shows in words . ``data``, the numbers behind it, if any.

    ``moving``: figures of the same size that its PNG shows before it, one after the other, where a reader's program
    can; printed, and where nothing moves, it is the figure.
    """

    name: str
    figure: Figure
    alt: str
    data: pd.DataFrame | None = None
    moving: Iterable[Figure] = ()


@dataclass(frozen=True)
class Table:
    """``data`` in long form, for the CSV . ``shown``, for people . ``name`` of the files . ``title`` . ``notes``."""

    name: str
    data: pd.DataFrame
    shown: pd.DataFrame
    title: str
    notes: str = ""


class Text(str):
    """A sentence or more, as Markdown."""


def markdown(frame: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table, its index left out."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def listed(parts: list[str]) -> str:
    """Parts of a sentence as a list in words: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
