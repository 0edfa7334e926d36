"""Runs that are not finished: their state, saved now and then, and those that will never have all that others have."""

from __future__ import annotations

import time
import warnings
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from gfe_companion.runs.folders import Run, forced_since

SAVE_EVERY_S = 30


class BrokenOff(Exception):
    """A run lacks what another would have kept, had that not ended early; the text is why it did."""


class Kept(dict):
    """The tensors that a run kept. Asking for others is a ``KeyError``, or :class:`BrokenOff` where it ended early."""

    def __init__(self, made: Run) -> None:
        super().__init__(made.weights)
        self.failure = made.provenance.get("failure")

    def __missing__(self, name: str) -> Tensor:
        raise BrokenOff(self.failure) if self.failure else KeyError(name)


class Saved:
    """The state of an unfinished run: read once at the start, saved every half minute."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, time.monotonic()

    def load(self) -> dict | None:
        """The state as it was saved, or None where there is none that can be used; a damaged one is told."""
        try:
            if self.path.stat().st_mtime < forced_since():
                return None
            content = self.path.read_bytes()
            if sha256(content[32:]).digest() != content[:32]:
                raise ValueError("it is damaged")
            return torch.load(BytesIO(content[32:]), weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is wrong with the file, the run can start from its beginning
            warnings.warn(f"{self.path} cannot be read ({error}); that run starts again.", stacklevel=2)
            return None

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self.last > SAVE_EVERY_S

    def save(self, state: dict) -> None:
        """Write ``state``, tensors and plain values by name, behind its own sum; the one before stays until then."""
        part = self.path.with_suffix(".part")
        content = BytesIO()
        torch.save(state, content)
        with part.open("wb") as file:  # PyTorch does not see when a number in its own files has changed
            file.write(sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())
        part.replace(self.path)
        self.last = time.monotonic()
