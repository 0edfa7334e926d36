"""What a notebook's parameters say: the profile, the data, the seeds, and where everything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gfe_companion.datasets import REGISTRY, Dataset, Source, load, locate, pending
from gfe_companion.runs.sizes import PROFILES, Profile

MNIST = "mnist"  # what the pages show unless they are told otherwise, and what claims are judged on
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

    ``dataset`` is the one that lessons show, and with them all that the paper shows on MNIST alone.
    ``offline``: nothing is downloaded or unpacked, and what would be counts as if it had been.
    """

    profile: Profile
    data: str
    seeds: tuple[int, ...]
    jobs: int
    device: str
    offline: bool = False
    dataset: str = MNIST

    @classmethod
    def of(
        cls, profile: str = "quick", data: str = "auto", seeds: str = "", jobs: int = 0, device: str = "auto",
        dataset: str = MNIST,
    ) -> Setting:  # fmt: skip
        """Read the six parameters that every notebook has; raises ``ValueError`` naming what would be valid."""
        if profile not in PROFILES:
            raise ValueError(f"profile {profile!r} is unknown; valid are {', '.join(PROFILES)}.")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device {device!r} is unknown; valid are auto, cpu and cuda.")
        chosen = tuple(int(seed) for seed in seeds.split(",")) if seeds else PROFILES[profile].seeds
        where = resolve_device(device)
        at_once = 1 if where == "cuda" else os.cpu_count() or 1  # on a GPU, runs side by side would spoil their clocks
        return cls(PROFILES[profile], data, chosen, jobs or at_once, where, dataset=registered(dataset))

    def source(self, dataset: str = "") -> Source:
        """Where the data set comes from; may download or unpack it. Raises ``DataError``."""
        dataset = dataset or self.dataset
        if self.offline and self.pending(dataset):
            return Source(home() / "data")
        return _located(self.data, dataset, home() / "data", os.environ.get("GFE_DATA"))

    def pending(self, dataset: str = "") -> str:
        """What :meth:`source` does first: the files are to be "downloaded", "unpacked", or "", neither."""
        return pending(self.data, dataset or self.dataset, home() / "data")

    def load(self, dataset: str = "") -> Dataset:
        """The data set itself, read once a process."""
        return load(dataset or self.dataset, self.source(dataset))

    def embedded(self, dataset: str = "") -> bool:
        """Whether it is what the environment ships, in the place of the published files."""
        return self.source(dataset or self.dataset).embedded

    @property
    def name(self) -> str:
        """What its folders in figures/ and build/ are called: the profile, and a data set that is not the paper's."""
        return self.profile.name if self.dataset == MNIST else f"{self.profile.name}-{self.dataset}"

    @property
    def figures(self) -> Path:
        """The folder of the figures and tables."""
        return home() / "figures" / self.name


def registered(dataset: str) -> str:
    """The registry's name of a data set, which may be given as figures write it: "FashionMNIST".

    Raises ``ValueError``, naming the valid ones, for an unknown one.
    """
    names = {name.replace("_", "").casefold(): name for name in REGISTRY}
    if found := names.get(dataset.replace("_", "").casefold()):
        return found
    raise ValueError(f"data set {dataset!r} is unknown; valid are {', '.join(REGISTRY)}.")


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
