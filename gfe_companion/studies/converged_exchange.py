"""Notebook 06: each trained decoder encoded by the encoders of the others, from zero."""

from __future__ import annotations

from dataclasses import replace

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
from gfe_core.encoding import Solver, Status
from gfe_core.models import AutoEncoder
from gfe_core.objective import Objective

IMAGES = 200
TRIALS = 100  # of either encoder, as many as Table 2 affords uncapped AMD
ENCODERS: dict[str, Solver] = {
    "amd": replace(UNCAPPED, max_trials=TRIALS),
    "quasi_newton": QuasiNewtonAMD(max_trials=TRIALS),
}
COLUMNS = {"amd": "AMD from zero", "quasi_newton": "quasi-Newton from zero"}


def exchanged(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """The mean test loss of each trained decoder by its own encoder, and by :data:`ENCODERS` from z(0) = 0.

    Of Table 2's ``runs`` those on the data set that the page shows. Columns: method, seed, own, amd, quasi_newton,
    means over the first :data:`IMAGES` test images; and amd_spent, quasi_newton_spent, the share of images that these
    two left with their budget spent. Costs at most 404 decoder passes an image and decoder.
    """
    tested = runs[(runs.dataset == setting.dataset) & runs.method.isin([AE, GFE, FAST, LONG])]
    images, rows = setting.load().test.images[:IMAGES], []
    trainings = run_grid([config.training for config in tested.config], setting)
    pairs = list(zip(tested.itertuples(), trainings, strict=True))
    for row, training in over(pairs, "trained decoders"):
        model = model_with(training.weights[str(row.images)], row.config.training.solver)
        decoder = model.decoder if isinstance(model, AutoEncoder) else model
        found: dict[str, float] = {}
        for name, solver in ENCODERS.items():
            encoding = solver.encode(Objective(decoder, images))
            spent = (encoding.status == Status.BUDGET_SPENT).double()
            found |= {name: encoding.loss.mean().item(), f"{name}_spent": spent.mean().item()}
        rows.append({"method": row.method, "seed": row.seed, "own": row.run.history.loss[:IMAGES].mean()} | found)
    return pd.DataFrame(rows)


def table_exchange(setting: Setting, found: pd.DataFrame) -> Table:
    """:func:`exchanged` over seeds."""
    rows = []
    for method, part in found.groupby("method", sort=False):
        row = {"trained as": METHODS[str(method)].look.short, "its own encoder": str(interval(part.own))}
        for name, title in COLUMNS.items():
            row[title] = f"{interval(part[name])} ({interval(above_own(part, name)):+,.0%})"
            row[f"{title}: spent"] = f"{part[name + '_spent'].mean():.0%}"
        rows.append(row)
    return Table(
        "table_06_exchange", found, pd.DataFrame(rows),
        f"Trained decoders, encoded as they learned and by two encoders from zero, on {setting.load().title}",
        f"{several(setting)}; the first {IMAGES} test images. In brackets: how far above the same decoder's loss by "
        f"its own encoder. *Spent*: images that used up their {TRIALS} trials before they settled. AMD is "
        "uncapped. The accelerated GFE's own encoder is quasi-Newton too, from a start that it has learned.",
    )  # fmt: skip


def above_own(part: pd.DataFrame, name: str) -> pd.Series:
    """How far the loss by an encoder lies above that by the decoder's own, relative."""
    return part[name] / part.own - 1


def say_exchange(found: pd.DataFrame) -> Text:
    """On which decoder each encoder from zero does worst against the decoder's own, and on which it does best."""
    said = []
    for name, title in COLUMNS.items():
        above = {str(method): interval(above_own(part, name)) for method, part in found.groupby("method", sort=False)}
        worst, *_, best = sorted(above, key=lambda method: -above[method].mean)
        said.append(
            f"{title} does worst on the decoder of {METHODS[worst].look.short} ({above[worst]:+,.0%} against the "
            f"decoder's own encoder), and best on that of {METHODS[best].look.short} ({above[best]:+,.0%})"
        )
    return Text(f"*Reading it:* {'; '.join(said)}.")
