"""Notebook 08: a tuned autoencoder against a tuned accelerated GFE on the clock, whichever way test images are encoded.

The frame of :func:`runs_of_tuned` has a row for each decoder and each way of encoding: columns method (how the decoder
was trained), encoding, tuning, budget, seed, images, seconds, validation, loss. Only ``validation`` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.evidence.claims import UNDECIDED, Unmeasured
from gfe_companion.evidence.clock import at_time, envelope
from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.evidence.ours_tuned import OPTIMUM, OWN, ours_rehearsed_below_encoded_ae
from gfe_companion.methods import METHODS, SKY, Look
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.runs.ways import WAYS
from gfe_companion.studies import beyond_tuned_plans as plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, plain_ticks, spread, wrapped
from gfe_companion.studies.results import Picture, Table, Text

TIMES = (5.0, 10.0, 20.0, 50.0, 100.0)  # seconds at which losses are tabulated
VIOLET = "#5d3a9b"  # no method of the registry has it
ONE_PASS = {"ae": "its encoder"}  # how "own" encodes; else by the linear map
SHORT = {"ae": "AE", "gfe_fast": "GFE, accelerated", "gfe_rehearsed": "GFE, rehearsed"}
LOOKS = {
    ("ae", OWN): METHODS["ae"].look,
    ("ae", OPTIMUM): Look("AE decoder", "decoder of the AE, encoded at the optimum", SKY, "D", ":"),
    ("gfe_fast", OPTIMUM): METHODS["gfe_fast"].look,
    ("gfe_rehearsed", OPTIMUM): Look(
        "GFE, rehearsed", f"GFE, accelerated, rehearsed {plans.REHEARSED} times, at the optimum", VIOLET, "v", "-."
    ),
}
LABELS = {key: look.label for key, look in LOOKS.items()} | {
    ("ae", OWN): "AE, its own encoder",
    ("gfe_fast", OPTIMUM): f"{METHODS['gfe_fast'].look.label}, at the optimum",
}
KEY = ["method", "encoding"]
WHERE = ["dataset", "network"]


def runs_of(plan: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The finished runs of a ``plan`` of :class:`Ways`, with images, run and the seconds that the training took."""
    tests = run_grid(plan.config, setting)
    trained = run_grid([config.training for config in plan.config], setting)
    images = [config.images for config in plan.config]
    seconds = [run.history.seconds.iloc[-1] for run in trained]
    return plan.assign(run=tests, images=images, seconds=seconds)


def losses_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The mean losses of each of ``runs`` by each encoding; at the optimum an image has the lower of two starts'."""
    rows = [
        row._asdict() | {"encoding": encoding} | {split: losses.get(split, np.nan) for split in ("validation", "test")}
        for row in runs.itertuples(index=False)
        for encoding, losses in _encoded(row.run.history)
    ]
    frame = pd.DataFrame(rows).rename(columns={"test": "loss"})
    frame["tuning"] = frame.tuning.map(str)
    where = [column for column in WHERE if column in frame]  # other networks
    return frame[[*where, *KEY, "tuning", "budget", "seed", "images", "seconds", "validation", "loss"]]


def _encoded(history: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    best = history[["warm", "zero"]].min(axis=1)
    for encoding, losses in ((OWN, history.own), (OPTIMUM, best)):
        yield encoding, losses.groupby(history.split).mean()


def chosen(losses: pd.DataFrame) -> pd.DataFrame:
    """``losses`` with a column ``chosen``: whether it lies on the lower envelope over settings, by validation.

    There is an envelope for each decoder and encoding, over means of the seeds; all seeds have the same settings.
    """
    point = [*KEY, "tuning", "budget"]
    means = losses.groupby(point, sort=False)[["seconds", "validation"]].mean().reset_index()
    best = pd.concat([envelope(part) for _, part in means.groupby(KEY)])
    keys = set(best[point].itertuples(index=False, name=None))
    return losses.assign(chosen=[key in keys for key in losses[point].itertuples(index=False, name=None)])


def runs_of_tuned(setting: Setting) -> pd.DataFrame:
    """Losses of all decoders by both encodings, finished, and which settings are chosen: see the module."""
    return chosen(losses_of(runs_of(plans.tuned(setting), setting)))


def curve_of(losses: pd.DataFrame, method: str, encoding: str) -> pd.DataFrame:
    """The chosen points of a decoder and an encoding, means over seeds: columns x, mean, low, high, seeds."""
    part = losses[losses.chosen & (losses.method == method) & (losses.encoding == encoding)]
    return over_seeds(part, ["tuning", "budget"], "loss", "seconds").sort_values("x")


def fig8_tuned(setting: Setting, losses: pd.DataFrame, sweep: pd.DataFrame) -> Picture:
    """Test loss against compute time, both methods tuned, test images encoded in one pass and at the optimum.

    ``sweep``: see :mod:`~gfe_companion.studies.beyond_sweep`; a finding may rest on it.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    drawn = {key: curve_of(losses, *key) for key in LOOKS}
    for key, curve in drawn.items():
        draw_mean(axes, curve, LOOKS[key], label=LABELS[key])
    axes.set(xscale="log", yscale="log", xlabel="compute time of the training (s, one thread)")
    axes.set_ylabel("test cross-entropy")
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis)
    said, seeds = _found(losses, sweep), pd.concat(drawn.values()).seeds
    heading = f"{wrapped(said.rstrip('.') or 'Tuned methods on the clock')}\n{setting.load().title} ({spread(*seeds)})"
    figure.suptitle(heading, fontsize="medium")
    figure.legend(loc="outside lower center", ncols=1, fontsize=8)
    alt = f"Test loss against compute time of tuned methods. {said} Last points: " + "; ".join(
        f"{LABELS[key]} {curve['mean'].iloc[-1]:.4f} after {curve.x.iloc[-1]:.3g} s" for key, curve in drawn.items()
    )
    return Picture("fig8_tuned", figure, f"{alt}.", losses)


def _found(losses: pd.DataFrame, sweep: pd.DataFrame) -> str:
    """Until when rehearsed GFE lies below the AE's decoder, as the rule says it; empty where it decides nothing."""
    try:
        found = ours_rehearsed_below_encoded_ae({"fig8_tuned": losses, "table_08_sweep": sweep}.__getitem__)
    except Unmeasured:
        return ""
    return "" if found.verdict == UNDECIDED else found.sentence


def table_tuned(setting: Setting, losses: pd.DataFrame) -> Table:
    """The test loss at some seconds for each way in which a decoder is trained and its images are encoded."""
    rows = []
    for method, short in SHORT.items():
        for encoding, said in ((OWN, f"one pass: {ONE_PASS.get(method, 'linear map')}"), (OPTIMUM, "at the optimum")):
            curve = curve_of(losses, method, encoding).rename(columns={"x": "seconds", "mean": "loss"})
            values = dict(zip(TIMES, at_time(curve, np.array(TIMES)), strict=True))
            row = {"decoder trained as": short, "test images encoded": said}
            rows.append(row | {f"{t:g} s": "-" if np.isnan(v) else f"{v:.4f}" for t, v in values.items()})
    notes = (
        f"Means over seeds {', '.join(map(str, plans.seeds_of(setting)))}, the first {setting.profile.clock_tested:,} "
        "test images, on the lower envelope over settings, which validation images choose; between trainings the loss "
        "runs straight in the logarithm of the seconds. What the verdicts take off the AE's losses is not taken off "
        "here. The clock counts training alone, in processor seconds, with "
        "other trainings on the other cores. At the optimum: by "
        "quasi-Newton from the one-pass start and from zero, the lower of both for each image. A decoder that was "
        "trained by encoding has no encoder; its linear map stands in."
    )
    shown = pd.DataFrame(rows)
    shown = shown.loc[:, ~(shown == "-").all()]  # without the times that no training reached
    title = f"Tuned against tuned on {setting.load().title}: test cross-entropy after so many seconds of one thread"
    return Table("table_08_tuned", losses, shown, title, notes)


def encoding_times(setting: Setting) -> pd.DataFrame:
    """What each way of encoding takes under the decoders of the longest trainings: method, way, seed, rate, loss."""
    plan = plans.tuned(setting)
    longest = (plan.budget == plan.budget.max()) & (plan.tuning == plans.FINAL[0])
    rows = [
        (row.method, way, row.seed, len(tested) / max(tested[f"{way}_seconds"].iloc[0], 1e-9), mean[way])
        for row in runs_of(plan[longest].reset_index(drop=True), setting).itertuples()
        for tested, mean in [(row.run.history, row.run.history.query("split == 'test'").mean(numeric_only=True))]
        for way in WAYS
    ]
    return pd.DataFrame(rows, columns=["method", "way", "seed", "rate", "loss"])


def table_encoding_time(setting: Setting, times: pd.DataFrame) -> Table:
    """Images a second of one thread by each way of encoding, and the test loss that it gives."""
    rows = []
    for (method, way), part in times.groupby(["method", "way"], sort=False):
        said = {
            "own": f"one pass: {ONE_PASS.get(method, 'linear map')}",
            "warm": f"quasi-Newton from there{', its coordinates' if method not in ONE_PASS else ''}",
            "zero": "quasi-Newton from zero",
        }
        row = {"decoder trained as": SHORT[method], "test images encoded": said[way]}
        rows.append(row | {"images a second": f"{part.rate.mean():,.0f}", "test loss": str(interval(part.loss))})
    budget = max(setting.profile.clock_budgets)
    seeds, tested = ", ".join(map(str, sorted(times.seed.unique()))), setting.profile.clock_tested
    notes = (
        f"Trainings of about {budget:g} s, seeds {seeds}; the first {tested:,} test images. Processor time of one "
        "thread, measured once beside other runs, with the decoder's last pass."
    )
    return Table("table_08_encoding_time", times, pd.DataFrame(rows), "Test-time encoding on the clock", notes)


def say_encoding_time(times: pd.DataFrame) -> Text:
    """How many times faster an autoencoder's encoder is, and what it pays for that."""
    ae = times[times.method == "ae"].groupby("way")[["rate", "loss"]].mean()
    fast = times[times.method == "gfe_fast"].groupby("way")[["rate", "loss"]].mean()
    return Text(
        f"A test image costs the AE's encoder {1e6 / ae.rate['own']:,.0f} microseconds and the warm encoder "
        f"{1e6 / fast.rate['warm']:,.0f}: {ae.rate['own'] / fast.rate['warm']:,.0f} times as long. The encoder's "
        f"loss is {ae.loss['own'] / ae.loss['zero'] - 1:.1%} above that of quasi-Newton from zero under that decoder."
    )


def runs_of_recipes(setting: Setting) -> pd.DataFrame:
    """Losses of each recipe at the optimum, finished: the columns of the module, method being the recipe's name."""
    losses = losses_of(runs_of(plans.recipes(setting), setting))
    return losses[losses.encoding == OPTIMUM].reset_index(drop=True)


def table_recipes(setting: Setting, recipes: pd.DataFrame) -> Table:
    """What each recipe gives for about the same seconds, beside the autoencoder's decoder encoded likewise."""
    rows = []
    for name in plans.RECIPES:
        row = {"recipe": name}
        for budget, part in recipes.groupby("budget"):
            own, base = part[part.method == name], part[part.method == "AE"]
            gain = 1 - own.set_index("seed").loss / base.set_index("seed").loss
            row[f"seconds (about {budget:g})"] = f"{own.seconds.mean():.3g}"
            row[f"images (about {budget:g} s)"] = f"{own.images.mean():,.0f}"
            row[f"test loss (about {budget:g} s)"] = str(interval(own.loss))
            row[f"below the AE's decoder (about {budget:g} s)"] = "-" if name == "AE" else f"{interval(gain):.1%}"
        rows.append(row)
    seeds = ", ".join(map(str, sorted(recipes.seed.unique())))
    notes = (
        f"Seeds {seeds}, the first {setting.profile.clock_tested:,} test images; every decoder is encoded at the "
        "optimum, the AE's too. Rates are fixed in the code and not swept for each recipe; they fall over the budget. "
        "Rehearsals: updates on recently encoded images, whose latents move by one step without trial."
    )
    title = f"What was tried for about the same seconds of one thread, {setting.load().title}"
    return Table("table_08_recipes", recipes, pd.DataFrame(rows), title, notes)


def say_recipes(recipes: pd.DataFrame) -> Text:
    """The recipe with the lowest validation loss at each budget, and what it gains on test images."""
    said = []
    for budget, part in recipes.groupby("budget"):
        mean = part.groupby("method")[["validation", "loss"]].mean()
        best = mean.validation.idxmin()
        said.append(f"about {budget:g} s, {best}: {1 - mean.loss[best] / mean.loss['AE']:.1%} below the AE's decoder")
    return Text(f"**Lowest on validation images**: {'; '.join(said)}.")
