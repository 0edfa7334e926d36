"""Notebook 08: tuned methods on the clock with other networks and data. Does it hold beyond one decoder?"""

from __future__ import annotations

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.intervals import interval
from gfe_companion.evidence.ours_tuned import OPTIMUM, OWN
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_tuned_plans as plans
from gfe_companion.studies.beyond_tuned import WHERE, losses_of, runs_of
from gfe_companion.studies.results import Table, Text, listed

COLUMNS = {
    ("ae", OWN): "AE, its own encoder",
    ("ae", OPTIMUM): "AE decoder, at the optimum",
    ("gfe_fast", OPTIMUM): "GFE, at the optimum",
    ("gfe_rehearsed", OPTIMUM): "GFE rehearsed, at the optimum",
}
LONGER = 1.1  # times the AE's seconds, above which two trainings are not of about the same length


def runs_of_networks(setting: Setting) -> pd.DataFrame:
    """Losses of each network, finished: dataset, network and the columns of :mod:`beyond_tuned`."""
    losses = losses_of(runs_of(plans.networks(setting), setting))
    return losses.assign(network=losses.network.map(str))


def table_networks(setting: Setting, losses: pd.DataFrame) -> Table:
    """Test losses after about the same seconds of training, a row for each data set and network."""
    rows = []
    for (dataset, network), part in losses.groupby(WHERE, sort=False):
        row = {"data": setting.load(str(dataset)).title, "network": network}
        for (method, encoding), said in COLUMNS.items():
            row[said] = str(interval(part[(part.method == method) & (part.encoding == encoding)].loss))
        seconds = part.groupby("method", sort=False).seconds.mean()
        rows.append(row | {"seconds, AE / GFE / rehearsed": " / ".join(f"{value:.3g}" for value in seconds)})
    seeds = ", ".join(map(str, sorted(losses.seed.unique())))
    notes = (
        f"Mean ± 95 % interval, seeds {seeds}, the first {setting.profile.clock_tested:,} test images. "
        f"All have {plans.FINAL[0]}, which was not swept for each network. "
        "Budgets were turned into images by the speed of the linear layers with d = 20; the last column has the "
        "seconds that each took."
    )
    title = f"Other networks: test cross-entropy after about {setting.profile.clock_networks:g} s of one thread"
    return Table("table_08_networks", losses, pd.DataFrame(rows), title, notes)


def say_networks(losses: pd.DataFrame) -> Text:
    """With how many networks each GFE lies below the autoencoder, under its own encoder and at the optimum.

    Those with which it took longer by more than :data:`LONGER` are named, and not counted.
    """
    took = losses.groupby([*WHERE, "method"], sort=False).seconds.mean()
    mean = losses.groupby([*WHERE, "method", "encoding"], sort=False).loss.mean()
    said = []
    for method in ("gfe_fast", "gfe_rehearsed"):
        for encoding in (OWN, OPTIMUM):
            ours, other = mean.xs((method, OPTIMUM), level=(2, 3)), mean.xs(("ae", encoding), level=(2, 3))
            longer = (took.xs(method, level=2) / took.xs("ae", level=2)).reindex(ours.index)
            slow = [f"{_named(each)} ({ratio:.1f} times)" for each, ratio in longer[longer > LONGER].items()]
            ours, other = ours[longer <= LONGER], other[longer <= LONGER]
            above = [_named(each) for each in ours.index[ours >= other]]
            name, against = COLUMNS[method, OPTIMUM], f"“{COLUMNS['ae', encoding]}”"
            line = f"- {name}, lies below {against} with {len(ours) - len(above)} of {len(ours)} networks"
            if ours.empty:
                line = f"- {name}, is compared with {against} with no network"
            line += f" (not with {listed(above)})" if above else ""
            line += f"; not counted, since it took longer than the AE: {listed(slow)}" if slow else ""
            said.append(f"{line}.")
    count = losses.seed.nunique()
    over = f"In the mean over {count} seeds" if count > 1 else "With one seed"
    return Text(f"{over}, after about the same seconds:\n\n" + "\n".join(said))


def _named(where: tuple[str, str]) -> str:
    """A data set and a network, in words."""
    return f"{REGISTRY[where[0]].title}, {where[1]}"
