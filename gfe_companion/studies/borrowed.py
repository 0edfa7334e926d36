"""The decoders that lessons borrow: those of Table 1, trained by uncapped AMD with the first of the seeds."""

from __future__ import annotations

from gfe_companion.runs.configs import Train
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.plans import table1
from gfe_core.models import Decoder


def training(setting: Setting) -> Train:
    """The configuration of their training."""
    plan = table1(setting)
    ours = plan[(plan.method == "gfe_amd_uncapped") & (plan.seed == setting.seeds[0])]
    return ours.config.iloc[0].training


def decoders(setting: Setting) -> dict[int, Decoder]:
    """The decoder at each row of Table 1, by the number of training images seen, in ascending order."""
    run = run_grid([training(setting)], setting)[0]
    return {int(images): with_weights(weights) for images, weights in sorted(run.weights.items(), key=_images)}


def with_weights(weights: dict) -> Decoder:
    """A decoder with the weights that a run kept."""
    decoder = Decoder()
    decoder.load_state_dict(weights)
    return decoder


def _images(item: tuple[str, dict]) -> int:
    return int(item[0])
