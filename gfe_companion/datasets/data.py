"""What other rooms import by this name."""

from gfe_companion.datasets.base import DataError, Dataset, Source, Split, StandInWarning
from gfe_companion.datasets.registry import check, load, locate

__all__ = ["DataError", "Dataset", "Source", "Split", "StandInWarning", "check", "load", "locate"]
