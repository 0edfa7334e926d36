"""Notebook 08: all that it needs, and the answers to its exercises. Its parts are the modules beyond_*."""

from __future__ import annotations

import pandas as pd

from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_iteration, beyond_plans, beyond_tuned_plans
from gfe_companion.studies.beyond_peers import PUBLISHED
from gfe_companion.studies.beyond_race import fewest_cold
from gfe_companion.studies.results import Text

DATASETS = ("mnist", "fashion_mnist")
READS = (PUBLISHED,)  # files beside its runs


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 08 rests on."""
    return [*beyond_plans.planned(setting), *beyond_tuned_plans.planned(setting), beyond_iteration.plan(setting)]


def say_answers(curves: pd.DataFrame, race: pd.DataFrame) -> Text:
    """The answers to the exercises: training images to equal loss, and the cheapest encoder that starts cold."""
    first = curves[(curves.schedule == "constant") & (curves.seed == curves.seed.iloc[0])].sort_values("images")
    ae = first[first.method == "ae"].iloc[-1]
    there = first[(first.method == "gfe_fast") & (first.loss <= ae.loss)].images
    images = "Here it does not come down to that loss."
    if len(there):
        gfe = there.iloc[0]
        images = f"{ae.images:,} against {gfe:,}, at the points measured: {ae.images / gfe:.0f} times as many."
    passes = fewest_cold(race)
    cold = f"{passes.idxmin()}, with {passes.min():,.0f}." if len(passes) else "None gets there."
    return Text(f"1. {images}\n2. {cold}")
