"""All configurations under one name, for studies. Runs rest on the module of each and not on this one."""

from gfe_companion.runs.available import Available
from gfe_companion.runs.coarseness import Coarseness
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.evaluate import Evaluate
from gfe_companion.runs.latents import Latents
from gfe_companion.runs.optimum import Optimum
from gfe_companion.runs.race import Race
from gfe_companion.runs.stiffness import Stiffness
from gfe_companion.runs.train import Train, TrainByAdjoint
from gfe_companion.runs.train_stored import TrainStored

__all__ = [
    "Available", "Coarseness", "Evaluate", "Latents", "Optimum", "Race", "RunConfig", "Stiffness", "Train",
    "TrainByAdjoint", "TrainStored",
]  # fmt: skip
