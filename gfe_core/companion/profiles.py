"""Every size, seed and budget in one place: smoke (does it run?), quick (the default), paper (the paper's sizes)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE1_IMAGES = (480, 960, 1920, 3840, 5760)
LOG_SPACED = (160, 320, 9600, 16_000, 25_600, 40_000, 64_000, 96_000, 160_000, 256_000, 400_000, 560_000, 800_000)
CURVE_IMAGES = tuple(sorted(TABLE1_IMAGES + LOG_SPACED))  # where Figure 4 measures; all are whole batches of 16


def home() -> Path:
    """Where runs/, figures/, build/ and data/ are written: the folder that GFE_HOME names, or the repository."""
    return Path(os.environ.get("GFE_HOME") or ROOT).absolute()


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile.

    ``seeds`` of Table 1 . ``table1_images`` its rows . ``literal_amd`` whether its slow column, AMD with s_max = 10, is
    computed . ``test_images`` how many test images GFE encodes there (an autoencoder always gets the whole test set) .
    ``curve_ae``, ``curve_gfe`` training images to which Figure 4 is drawn . ``curve_ae_seeds``, ``curve_gfe_seeds`` how
    many of the seeds go that far . ``validation_images`` for its losses.

    Of Figures 1 and 3: ``slices`` N of the fixed grids . ``flow_images`` training images on the right of Figure 3 .
    ``adjoint_images`` on its left . ``flow_validation_images`` for their losses . ``flow_seeds`` how many of the seeds
    they get.
    """

    name: str
    seeds: tuple[int, ...]
    table1_images: tuple[int, ...]
    literal_amd: bool
    test_images: int
    curve_ae: int
    curve_gfe: int
    curve_ae_seeds: int
    curve_gfe_seeds: int
    validation_images: int
    slices: int
    flow_images: int
    adjoint_images: int
    flow_validation_images: int
    flow_seeds: int


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", (0,), (480, 960), False, 200, 1920, 960, 1, 1, 100, 10, 480, 320, 20, 1),
        Profile("quick", (0, 1, 2), TABLE1_IMAGES, False, 2000, 96_000, 0, 3, 0, 250, 25, 3840, 960, 50, 3),
        Profile("paper", (0, 1, 2, 3, 4), TABLE1_IMAGES, True, 10_000, 800_000, 800_000, 3, 1, 1000, 100, 24_000, 3840, 200, 3),
    )
}


@dataclass(frozen=True)
class Setting:
    """What a notebook's parameters say: which profile, on which data, with which seeds, on how many cores, where."""

    profile: Profile
    data: str
    seeds: tuple[int, ...]
    jobs: int
    device: str

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
        return cls(PROFILES[profile], data, chosen, jobs or os.cpu_count() or 1, resolve_device(device))

    @property
    def figures(self) -> Path:
        """The folder of this profile's figures and tables."""
        return home() / "figures" / self.profile.name


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
