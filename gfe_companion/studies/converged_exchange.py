"""Notebook 06: each trained decoder encoded by the encoders of the others, from zero."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import METHODS, UNCAPPED
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.converged_models import AE, FAST, GFE, LONG, several
from gfe_companion.studies.results import Table, Text
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import AutoEncoder
from gfe_core.objective import Objective

IMAGES = 200
ENCODERS = {"amd": UNCAPPED, "quasi_newton": QuasiNewtonAMD(max_trials=UNCAPPED.max_trials)}
COLUMNS = {"amd": "AMD from zero", "quasi_newton": "quasi-Newton from zero"}


def exchanged(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """The mean test loss of each trained decoder by its own encoder and by :data:`ENCODERS`, all from z(0) = 0.

    Of Table 2's ``runs`` those on the data set that the page shows. Columns: method, seed, own, amd, quasi_newton,
    means over the first :data:`IMAGES` test images. Costs at most 404 decoder passes an image and decoder.
    """
    tested = runs[(runs.dataset == setting.dataset) & runs.method.isin([AE, GFE, FAST, LONG])]
    images, rows = setting.load().test.images[:IMAGES], []
    trainings = run_grid([config.training for config in tested.config], setting)
    pairs = list(zip(tested.itertuples(), trainings, strict=True))
    for row, training in over(pairs, "trained decoders"):
        model = model_with(training.weights[str(row.images)], row.config.training.solver)
        decoder = model.decoder if isinstance(model, AutoEncoder) else model
        by = {name: each.encode(Objective(decoder, images)).loss.mean().item() for name, each in ENCODERS.items()}
        rows.append({"method": row.method, "seed": row.seed, "own": row.run.history.loss[:IMAGES].mean()} | by)
    return pd.DataFrame(rows)


def table_exchange(setting: Setting, found: pd.DataFrame) -> Table:
    """:func:`exchanged` over seeds."""
    rows = [
        {"trained as": METHODS[str(method)].look.short, "its own encoder": interval(part.own)}
        | {
            title: f"{interval(part[name])} ({interval(above_own(part, name)):+,.0%})"
            for name, title in COLUMNS.items()
        }
        for method, part in found.groupby("method", sort=False)
    ]
    return Table(
        "table_06_exchange", found, pd.DataFrame(rows),
        f"Trained decoders, encoded as they learned and by two encoders from zero, on {setting.load().title}",
        f"{several(setting)}; the first {IMAGES} test images. In brackets: how far above the same decoder's loss by "
        f"its own encoder. AMD is uncapped; both encoders from zero may try {UNCAPPED.max_trials} steps an image. The "
        "accelerated GFE's own encoder is quasi-Newton too, from a start that it has learned.",
    )  # fmt: skip


def above_own(part: pd.DataFrame, name: str) -> pd.Series:
    """How far the loss by an encoder lies above that by the decoder's own, relative."""
    return part[name] / part.own - 1


def say_exchange(found: pd.DataFrame) -> Text:
    """On which decoder each encoder from zero ends farthest above the decoder's own, and on which it ends lowest."""
    said = []
    for name, title in COLUMNS.items():
        excess = {str(method): above_own(part, name).mean() for method, part in found.groupby("method", sort=False)}
        worst, best = max(excess, key=excess.__getitem__), min(excess, key=excess.__getitem__)
        said.append(
            f"{title} ends farthest above a decoder's own encoder on that of "
            f"{METHODS[worst].look.short} ({excess[worst]:+,.0%}), and lowest beside it on that of "
            f"{METHODS[best].look.short} ({excess[best]:+,.0%})"
        )
    return Text(f"*Reading it:* {'; '.join(said)}.")
