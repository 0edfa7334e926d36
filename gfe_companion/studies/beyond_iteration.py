"""Notebook 08: where the time of a training iteration of the accelerated GFE goes."""

from __future__ import annotations

import pandas as pd

from gfe_companion.runs.iteration import Iteration
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.results import Table

BATCHES = 100  # that are timed


def plan(setting: Setting) -> Iteration:
    """Iterations that go on from the decoder of the race of encoders."""
    optimum = plans.race(setting).optimum
    return Iteration(optimum.evaluation.training, optimum.evaluation.images, BATCHES)


def iteration_of(setting: Setting) -> pd.DataFrame:
    """Its parts, run: columns part, ms (an iteration), and alone, whether it is no part but timed by itself."""
    return run_grid([plan(setting)], setting)[0].history


def table_iteration(setting: Setting, parts: pd.DataFrame) -> Table:
    """Milliseconds and share of each part, their sum, and what was timed alone."""
    inside, alone = parts[~parts.alone], parts[parts.alone]
    whole, config = inside.ms.sum(), plan(setting)
    rows = [(row.part, row.ms, row.ms / whole) for row in inside.itertuples()]
    rows.append(("**an iteration**", whole, 1.0))
    rows += [(f"alone: {row.part}", row.ms, row.ms / whole) for row in alone.itertuples()]
    shown = pd.DataFrame([(part, f"{ms:.2f}", f"{share:.0%}") for part, ms, share in rows])
    shown.columns = ["part of an iteration", "ms", "share"]
    size = config.training.recipe.batch_size
    notes = (
        f"Mean of {config.batches} iterations of {size} images after {config.images:,} training images; processor time "
        "of one thread, beside other runs. What is timed alone is no part of the sum: it bounds what a faster way to "
        "multiply could save."
    )
    return Table("table_08_iteration", parts, shown, "Where the time of a training iteration goes", notes)
