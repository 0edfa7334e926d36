"""Notebook 08: all that it needs. Its parts are the modules beyond_*."""

from __future__ import annotations

from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_iteration, beyond_plans, beyond_tuned_plans, borrowed
from gfe_companion.studies.beyond_peers import PUBLISHED

DATASETS = ("mnist", "fashion_mnist")
READS = (PUBLISHED,)  # files beside its runs


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 08 rests on."""
    plans = [*beyond_plans.planned(setting), *beyond_tuned_plans.planned(setting)]
    return [borrowed.training(setting), *plans, beyond_iteration.plan(setting)]
