"""The registry of data sets."""

from gfe_companion.datasets.data import (
    DataError,
    Dataset,
    Source,
    Split,
    StandInWarning,
    check,
    load,
    locate,
)  # fmt: skip

__all__ = ["DataError", "Dataset", "Source", "Split", "StandInWarning", "check", "load", "locate"]
