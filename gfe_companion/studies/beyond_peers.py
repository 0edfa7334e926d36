"""Notebook 08, the strongest peers: what `bench --only peers` has measured and published."""

from __future__ import annotations

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.runs.profiles import ROOT
from gfe_companion.studies.results import Table, Text

PUBLISHED = ROOT / "figures" / "bench" / "peers.csv"
TARGET = 1e-3  # of the best mean loss, within which an encoder counts as done
GOAL = 0.8  # of the fastest peer's seconds, at most
COMMAND = "`python -m gfe_companion bench --only peers --publish`"
NONE_YET = f"None measured yet: {COMMAND} races them."
KEYS = ["encoder", "ours", "warm"]


def peers_of() -> pd.DataFrame:
    """The published race, a row for each decoder, number of images, encoder and start; empty where none is published.

    Columns: those of :func:`gfe_companion.cli.bench_peers.race`, dataset, latent_dim, convolutional, trained (images),
    missing (packages), threads, busy (per cent, before) and hardware.
    """
    return pd.read_csv(PUBLISHED, keep_default_na=False, na_values=[""]) if PUBLISHED.exists() else pd.DataFrame()


def table_peers(peers: pd.DataFrame) -> Table:
    """Seconds of each encoder to within 0.1 % of the best, a column for each decoder and number of images.

    In brackets: it never comes so near; the time is that to 0.1 % of where it ends, and how far that is above the best.
    """
    title = f"Seconds to within {TARGET:.1%} of the lowest loss that anyone finds, each encoder at its best settings"
    if peers.empty:
        none = pd.DataFrame(columns=[*KEYS, "seconds"])
        return Table("table_08_peers", none, pd.DataFrame({"encoder": [NONE_YET]}), title)
    columns = {_column(row): None for _, row in peers.iterrows()}
    rows = {}
    for (encoder, ours, warm), group in peers.groupby(KEYS, sort=False):
        cells = {_column(row): _cell(row) for _, row in group.iterrows()}
        whose = "ours" if ours else "peer"
        rows[encoder, warm] = {"encoder": encoder, "of": whose, "start": "warm" if warm else "cold"} | {
            name: cells.get(name, "-") for name in columns
        }
    shown = pd.DataFrame(sorted(rows.values(), key=lambda row: row["start"]))
    return Table("table_08_peers", peers, shown, title, _notes(peers))


def _column(row: pd.Series) -> str:
    kind = "convolutional, " if row.convolutional else ""
    return f"{REGISTRY[row.dataset].title}, {kind}d = {row.latent_dim}, {row.images:,} images"


def _cell(row: pd.Series) -> str:
    lost = "" if pd.isna(row.basins) else f"; {row.basins:.1%} of images"
    told = f"{row.seconds:.2f}{lost}"
    return told if row.within else f"({row.seconds:.2f}, {row.above:+.2%}{lost})"


def _notes(peers: pd.DataFrame) -> str:
    one = peers.iloc[0]
    repeats, few = peers.timings.max(), peers.images.min()
    told = [
        f"Decoders after {one.trained:,} training images. Settings are those of a sweep that are fastest on {few} "
        f"images; the seconds are medians of {repeats} timings in turn (one, for what is far slower than the fastest "
        f"peer), after compilation, with {one.threads} threads of {one.hardware}, of which {one.busy:.0f} % were busy "
        "before.",
        "In brackets: the encoder ends further above the best than that; the seconds are those to where it ends. The "
        "share is that of images which it leaves more than 1 % above their best, in a worse basin. “joint”: all images "
        "as one vector; “oneDNN”: the decoder's products go through oneDNN in the place of torch's own; "
        "“warm”: from the training's linear map, in its coordinates.",
    ]
    lacking = one.missing
    return " ".join([*told, f"Not installed there: {lacking}."] if isinstance(lacking, str) and lacking else told)


def fastest(peers: pd.DataFrame) -> pd.DataFrame:
    """Of each decoder, number of images and start: our fastest encoder and the fastest peer that come near the best.

    Columns: column (of the table), warm, ours and peer (names; missing where none comes near), ratio of the seconds.
    """
    rows, named = [], peers.assign(column=peers.apply(_column, axis=1))
    for (column, warm), group in named.groupby(["column", "warm"], sort=False):
        near = group[group.within].sort_values("seconds").drop_duplicates("ours").set_index("ours")
        near = near.reindex([True, False])
        ours, peer = near.encoder
        ratio = near.seconds[True] / near.seconds[False]
        rows.append({"column": column, "warm": warm, "ours": ours, "peer": peer, "ratio": ratio})
    return pd.DataFrame(rows)


def say_peers(peers: pd.DataFrame) -> Text:
    """How our fastest encoder compares with the fastest peer, for each decoder, cold and warm."""
    if peers.empty:
        return Text(NONE_YET)
    lines = []
    for _, row in fastest(peers).iterrows():
        start = "warm" if row.warm else "cold"
        if pd.notna(row.ratio):
            verdict = "within" if row.ratio <= GOAL else "short of"
            told = f"{row.ours} takes {row.ratio:.2f} times as long as {row.peer}, {verdict} the goal of {GOAL}"
        else:
            who = [name for name in (row.ours, row.peer) if pd.notna(name)]
            told = f"{f'of ours and peers only {who[0]}' if who else 'nobody'} comes within {TARGET:.1%}"
        lines.append(f"- {row.column}, {start}: {told}.")
    return Text("\n".join(lines))
