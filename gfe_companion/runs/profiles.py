"""What a notebook's parameters say: the profile, the data, the seeds, and where everything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gfe_companion.datasets import Dataset, Source, load, locate, pending
from gfe_companion.runs.sizes import PROFILES, Profile

ROOT = Path(__file__).resolve().parents[2]


def home() -> Path:
    """Where runs/, figures/, build/ and data/ are written: the folder that GFE_HOME names, or the repository.

    An installed copy of the package is in no repository: there it is the folder in which Python runs.
    """
    here = ROOT if (ROOT / "requirements.lock").exists() else Path()
    return Path(os.environ.get("GFE_HOME") or here).expanduser().absolute()


@dataclass(frozen=True)
class Setting:
    """What a notebook's parameters say: which profile, on which data, with which seeds, on how many cores, where.

    ``offline``: nothing is downloaded or unpacked, and what would be counts as if it had been.
    """

    profile: Profile
    data: str
    seeds: tuple[int, ...]
    jobs: int
    device: str
    offline: bool = False

    @classmethod
    def of(
        cls, profile: str = "quick", data: str = "auto", seeds: str = "", jobs: int = 0, device: str = "auto"
    ) -> Setting:
        """Read the five parameters that every notebook has; raises ``ValueError`` naming what would be valid."""
        if profile not in PROFILES:
            raise ValueError(f"profile {profile!r} is unknown; valid are {', '.join(PROFILES)}.")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device {device!r} is unknown; valid are auto, cpu and cuda.")
        chosen = tuple(int(seed) for seed in seeds.split(",")) if seeds else PROFILES[profile].seeds
        where = resolve_device(device)
        at_once = 1 if where == "cuda" else os.cpu_count() or 1  # on a GPU, runs side by side would spoil their clocks
        return cls(PROFILES[profile], data, chosen, jobs or at_once, where)

    def source(self, dataset: str = "mnist") -> Source:
        """Where the data set comes from; may download or unpack it. Raises ``DataError``."""
        if self.offline and self.pending(dataset):
            return Source(home() / "data")
        return _located(self.data, dataset, home() / "data", os.environ.get("GFE_DATA"))

    def pending(self, dataset: str = "mnist") -> str:
        """What :meth:`source` does first: the files are to be "downloaded", "unpacked", or "", neither."""
        return pending(self.data, dataset, home() / "data")

    def load(self, dataset: str = "mnist") -> Dataset:
        """The data set itself, read once a process."""
        return load(dataset, self.source(dataset))

    def embedded(self, dataset: str = "mnist") -> bool:
        """Whether it is what the environment ships, in the place of the published files."""
        return self.source(dataset).embedded

    @property
    def figures(self) -> Path:
        """The folder of this profile's figures and tables."""
        return home() / "figures" / self.profile.name


@lru_cache(maxsize=16)
def _located(data: str, dataset: str, download_to: Path, named: str | None) -> Source:
    """As :func:`locate`, asked once a process; ``named`` is GFE_DATA, on which the answer depends."""
    return locate(data, dataset, download_to)


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is a GPU; asking for ``cuda`` where there is none is a ``ValueError``."""
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ValueError("there is no CUDA device that this torch can use; use --device cpu, or install a CUDA build.")
    return "cpu"
