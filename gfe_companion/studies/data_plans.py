"""Images available, in the place of images seen: the runs of notebook 05 beyond the paper's Table 1, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.methods import COLD_TEST, FAST, FAST_TEST
from gfe_companion.methods.learners import Autoencoding, Encoding, Learner
from gfe_companion.methods.opponents import SemiAmortised, Stored, Variational
from gfe_companion.methods.remedies import Denoising, Dropout, Shifted, WeightDecay
from gfe_companion.runs.configs import Available
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import AVAILABLE_SEEN
from gfe_core.models import PIXELS

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
        profile.available_validation, profile.available_tested, replace(COLD_TEST, max_trials=profile.available_trials),
        watched=dataset == setting.dataset and available == profile.available_reference,
    )  # fmt: skip


def available(setting: Setting) -> pd.DataFrame:
    """Autoencoder and accelerated GFE on few images: columns dataset, method, seed, config (an :class:`Available`)."""
    profile, rows = setting.profile, []
    budgets = {AE: profile.available_ae, GFE: profile.available_gfe}
    for dataset in REGISTRY:
        seeds = profile.available_seeds if dataset == setting.dataset else profile.available_other_seeds
        for place, images in enumerate(profile.available_images):
            for seed in setting.seeds[: seeds[place]]:
                for method, learner in LEARNERS.items():
                    config = on(setting, dataset, learner, images, budgets[method][place], seed)
                    rows.append((dataset, method, seed, config))
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "config"])


SHIFTS = 2  # pixels
SHIFTED = "gfe_shifts"


class Opponent(NamedTuple):
    """What accelerated GFE is compared with on few images.

    ``title``: for tables . ``settings``: learners, of which validation chooses . ``against``: whom it is compared with,
    GFE on the same images, moved where its own are.
    """

    title: str
    settings: tuple[Learner, ...]
    against: str = GFE


def opponents() -> dict[str, Opponent]:
    """The opponents by name, each with its settings, of which small profiles try the first. The last is GFE itself."""
    gfe, ae, bound = LEARNERS[GFE], LEARNERS[AE], 1 / PIXELS
    return {
        "weight_decay": Opponent("AE, weight decay", (WeightDecay(1e-4), WeightDecay(1e-3))),
        "dropout": Opponent("AE, dropout", (Dropout(0.1), Dropout(0.3))),
        "denoising": Opponent("AE, denoising", (Denoising(0.3), Denoising(0.1))),
        "vae": Opponent("VAE", (Variational(0.1 * bound), Variational(bound))),
        "semi_amortised": Opponent("AE, latents refined", (SemiAmortised(1000.0, 10), SemiAmortised(1000.0, 5))),
        "auto_decoder": Opponent("auto-decoder", (Stored(0.5), Stored(2.0))),
        "ae_shifts": Opponent("AE, shifts", (Shifted(ae, SHIFTS), Shifted(ae, 1)), SHIFTED),
        SHIFTED: Opponent("GFE, accelerated, shifts", (Shifted(gfe, SHIFTS), Shifted(gfe, 1)), SHIFTED),
    }


def opposing(setting: Setting) -> pd.DataFrame:
    """The opponents on as many images as the reference: columns opponent, learner, seed, config."""
    profile, rows = setting.profile, []
    for seed in setting.seeds[: profile.opponent_seeds]:
        for name, opponent in opponents().items():
            for learner in opponent.settings[: profile.opponent_settings]:
                seen = {SHIFTED: profile.opponent_gfe, "ae_shifts": profile.opponent_shifts}.get(name)
                seen = seen or profile.opponent_seen
                config = on(setting, setting.dataset, learner, profile.available_reference, seen, seed)
                rows.append((name, learner.name, seed, replace(config, watched=False)))
    return pd.DataFrame(rows, columns=["opponent", "learner", "seed", "config"])
