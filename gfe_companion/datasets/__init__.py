"""The registry of data sets: one file a data set, and what the environment ships where the files are not."""

from gfe_companion.datasets.base import DataError, Dataset, Embedded, Entry, Source, Split, StandInWarning
from gfe_companion.datasets.registry import REGISTRY, check, load, locate, pending

__all__ = [
    "REGISTRY", "DataError", "Dataset", "Embedded", "Entry", "Source", "Split", "StandInWarning", "check", "load",
    "locate", "pending",
]  # fmt: skip
