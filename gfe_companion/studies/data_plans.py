"""Images available, in the place of images seen: the runs of notebook 05 beyond the paper's Table 1, as data."""

from __future__ import annotations

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.methods import COLD_TEST, FAST, FAST_TEST
from gfe_companion.methods.learners import Autoencoding, Encoding, Learner
from gfe_companion.runs.configs import Available
from gfe_companion.runs.profiles import AVAILABLE_SEEN, Setting

AE, GFE = "ae", "gfe_fast"
LEARNERS: dict[str, Learner] = {AE: Autoencoding(), GFE: Encoding(FAST, FAST_TEST)}


def measured(setting: Setting, seen: int) -> tuple[int, ...]:
    """Where a training of at most ``seen`` images is validated."""
    return tuple(images for images in AVAILABLE_SEEN if images <= seen)[-setting.profile.available_points :]


def on(setting: Setting, dataset: str, learner: Learner, available: int, seen: int, seed: int) -> Available:
    """The training by ``learner`` on ``available`` images, of which it sees at most ``seen``, and its tests."""
    profile = setting.profile
    return Available(
        dataset, setting.embedded(dataset), seed, learner, available, measured(setting, seen),
        profile.available_validation, profile.available_tested, COLD_TEST,
        watched=dataset == "mnist" and available == profile.available_reference,
    )  # fmt: skip


def available(setting: Setting) -> pd.DataFrame:
    """Autoencoder and accelerated GFE on few images: columns dataset, method, seed, config (an :class:`Available`)."""
    profile, rows = setting.profile, []
    budgets = {AE: profile.available_ae, GFE: profile.available_gfe}
    for dataset in REGISTRY:
        seeds = profile.available_seeds if dataset == "mnist" else profile.available_other_seeds
        for place, images in enumerate(profile.available_images):
            for seed in setting.seeds[: seeds[place]]:
                for method, learner in LEARNERS.items():
                    config = on(setting, dataset, learner, images, budgets[method][place], seed)
                    rows.append((dataset, method, seed, config))
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "config"])
