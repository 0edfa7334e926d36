"""Notebook 08, the strongest peers: what `bench --only peers` has measured and published."""

from __future__ import annotations

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.runs.profiles import ROOT
from gfe_companion.studies.results import Table, Text

PUBLISHED = ROOT / "figures" / "bench" / "peers.csv"
TARGET = 1e-3  # of the best mean loss, within which an encoder counts as done
NEAR = TARGET / 2  # the same where settings are chosen, so that on other images they should do
GOAL = 0.8  # of the fastest peer's seconds, at most
LIMIT_S = 2.0  # seconds of an encoding, after which a ladder of settings ends
ONEDNN = ", oneDNN"  # ends the name of an encoder whose decoder multiplies by oneDNN
COMMAND = "`python -m gfe_companion bench --only peers --publish`"
NONE_YET = f"None measured yet: {COMMAND} races them."
KEYS = ["encoder", "ours", "warm"]


def peers_of() -> pd.DataFrame:
    """The published race, a row for each decoder, number of images, encoder and start; empty where none is published.

    Columns: those of :func:`gfe_companion.cli.bench_peers.race`, dataset, latent_dim, convolutional, trained (images),
    missing (packages), threads, busy (per cent, before) and hardware. Older files lack apart.
    """
    return pd.read_csv(PUBLISHED, keep_default_na=False, na_values=[""]) if PUBLISHED.exists() else pd.DataFrame()


def table_peers(peers: pd.DataFrame) -> Table:
    """Seconds of each encoder to within 0.1 % of the best, a column for each decoder and number of images.

    In brackets: no setting comes so near; the time is that to 0.1 % of where it ends, and how far that is above the
    best.
    """
    title = f"Seconds to within {TARGET:.1%} of the lowest loss that anyone finds, with settings chosen on other images"
    if peers.empty:
        none = pd.DataFrame(columns=[*KEYS, "seconds"])
        return Table("table_08_peers", none, pd.DataFrame({"encoder": [NONE_YET]}), title)
    columns = {_column(row): None for _, row in peers.iterrows()}
    rows = {}
    for (encoder, ours, warm), group in peers.groupby(KEYS, sort=False):
        cells = {_column(row): _cell(row) for _, row in group.iterrows()}
        told = f"{'ours' if ours else 'peer'}, {'warm' if warm else 'cold'}"
        rows[warm, encoder] = {"encoder": encoder, "whose": told} | {name: cells.get(name, "-") for name in columns}
    shown = pd.DataFrame([rows[key] for key in sorted(rows, key=lambda key: key[0])])
    return Table("table_08_peers", peers, shown, title, _notes(peers))


def _column(row: pd.Series) -> str:
    kind = "convolutional, " if row.convolutional else ""
    return f"{REGISTRY[row.dataset].title}, {kind}d = {row.latent_dim}, {row.images:,} images"


def _cell(row: pd.Series) -> str:
    lost = "" if pd.isna(row.basins) else f"; {row.basins:.1%}"
    told = f"{row.seconds:.2f}{lost}"
    return told if row.within else f"({row.seconds:.2f}, {row.above:+.2%}{lost})"


def _notes(peers: pd.DataFrame) -> str:
    one = peers.iloc[0]
    repeats = peers.timings.max()
    told = [
        f"Test images; decoders of accelerated GFE after {one.trained:,} training images, one seed. {_choice(one)}; "
        f"an encoder gets ever more trials or time, until an encoding takes more than {LIMIT_S:g} s. The seconds are "
        f"medians of {repeats} timings in turn (one, for what is far slower than the fastest peer), after compilation, "
        f"with {one.threads} threads of {one.hardware}, of which {one.busy:.0f} % were busy before.",
        "In brackets: within that limit the encoder ends further above the best; the seconds are those to where it "
        "ends. The share at the end is of images that it leaves more than 1 % above their best, in a worse basin "
        "or short of the end. “joint”: all images of a batch as one vector, smaller batches were not tried; “oneDNN”: "
        "the decoder's products go through oneDNN in the place of torch's own; "
        "“warm”: from the training's linear map, in its coordinates.",
    ]
    lacking = one.missing
    return " ".join([*told, f"Not installed there: {lacking}."] if isinstance(lacking, str) and lacking else told)


def _choice(one: pd.Series) -> str:
    """How the settings were chosen, in words."""
    if "apart" not in one:
        return (
            f"**Older numbers:** settings are those that are fastest on the timed images themselves ({COMMAND} renews)"
        )
    return (
        f"Settings are those of a sweep that come within {NEAR:.2%} in the least time on {one.apart} validation "
        "images, none of which is timed"
    )


def fastest(peers: pd.DataFrame) -> pd.DataFrame:
    """Of each decoder, number of images and start: our fastest encoder and the fastest peer that come near the best.

    Where only one side had oneDNN, its encoders with it do not count. Columns: column (of the table), warm, ours and
    peer (names; missing where none comes near), ratio of the seconds, least and most (the ratio between the extremes of
    their timings), nearest (those of both sides that end nearest to the best, in words).
    """
    rows, named = [], peers.assign(column=peers.apply(_column, axis=1))
    for (column, warm), group in named.groupby(["column", "warm"], sort=False):
        quick = group.encoder.str.endswith(ONEDNN)
        if group[quick].ours.nunique() < 2:
            group = group[~quick]
        near = group[group.within].sort_values("seconds").drop_duplicates("ours").set_index("ours")
        near = near.reindex([True, False])
        ours, peer = near.encoder
        row = {"column": column, "warm": warm, "ours": ours, "peer": peer, "nearest": _nearest(group)}
        rows.append(row | {
            "ratio": near.seconds[True] / near.seconds[False],
            "least": near.low[True] / near.high[False],
            "most": near.high[True] / near.low[False],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _nearest(group: pd.DataFrame) -> str:
    """Of either side the encoder that ends nearest to the best, and how far above it."""
    ends = group.assign(end=group.end.fillna(group.above)).sort_values("end").drop_duplicates("ours").set_index("ours")
    sides = ((True, "of ours"), (False, "of the peers"))
    return ", ".join(
        f"{said} {ends.encoder[ours]} (+{ends.end[ours]:.2%})" for ours, said in sides if ours in ends.index
    )


def say_peers(peers: pd.DataFrame) -> Text:
    """How our fastest encoder compares with the fastest peer, for each decoder, cold and warm; and who is missing."""
    if peers.empty:
        return Text(NONE_YET)
    lacking, lines = peers.missing.iloc[0], []
    if isinstance(lacking, str):
        lines.append(f"**Not installed where this was measured: {lacking}.** The peers that need them are missing.\n")
    for _, row in fastest(peers).iterrows():
        start = "warm" if row.warm else "cold"
        if pd.notna(row.ratio):
            verdict = "within" if row.ratio <= GOAL else "short of"
            told = (
                f"{row.ours} takes {row.ratio:.2f} times as long as {row.peer} ({row.least:.2f} to {row.most:.2f} "
                f"between the extremes of the timings), {verdict} the goal of {GOAL}"
            )
        else:
            there = [(row.ours, "no peer does"), (row.peer, "none of ours does")]
            alone = [f"{name} comes within {TARGET:.1%}, and {others}" for name, others in there if pd.notna(name)]
            found = alone[0] if alone else f"nobody comes within {TARGET:.1%}"
            told = f"{found}; on the images of the sweep the nearest ends are {row.nearest}"
        lines.append(f"- {row.column}, {start}: {told}.")
    return Text("\n".join(lines))
