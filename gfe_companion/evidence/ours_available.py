"""The rules of our own findings on images available (notebook 05): one function for each finding of ``ours.toml``."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.available import AE_BY, GFE_BY
from gfe_companion.evidence.claims import Finding, Read, Unmeasured, all_of, holds
from gfe_companion.evidence.intervals import Interval, interval


def _paired(frame: pd.DataFrame, one: tuple[str, str], other: tuple[str, str]) -> dict[str, Interval]:
    """Test losses of ``one`` method and encoder minus those of the ``other``, over seeds, by number of images."""
    keys = ["dataset", "available", "seed"]
    sides = [frame[(frame.method == m) & (frame.encoder == e)].set_index(keys).test for m, e in (one, other)]
    difference = (sides[0] - sides[1]).dropna().reset_index()
    if difference.empty:
        raise Unmeasured("The profile did not run both on the same images.")
    several = difference.dataset.nunique() > 1
    return {
        f"{f'{dataset} ' * several}{images:,}": interval(part.test)
        for (dataset, images), part in difference.groupby(["dataset", "available"], sort=False)
    }


def _said(rows: dict[str, Interval]) -> str:
    return "; ".join(f"{name}: {row}" for name, row in rows.items())


def ours_fewer_images_available(read: Read) -> Finding:
    """At each number of images available on MNIST the AE's test loss minus that of accelerated GFE is above zero. Both
    learn from the same images, for as long as it pays by validation, and encode test images by their own encoder.
    """
    rows = _paired(read("fig_05_available"), AE_BY, GFE_BY)
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"AE − GFE by images available: {_said(rows)}",
        "Table 1 counts images seen, which are drawn from a pool of 50,000; here they are drawn from these alone.",
    )


def ours_fewer_images_elsewhere(read: Read) -> Finding:
    """The same on FashionMNIST and SegmentedMNIST, at each number of images available there."""
    found = ours_fewer_images_available(read)
    return found._replace(sentence="")


def ours_optimum_repairs(read: Read) -> Finding:
    """At each number of images available on MNIST the AE's test loss by its own encoder minus that of its decoder
    encoded at the optimum is above zero. Each is tested at its own best point by validation.
    """
    rows = _paired(read("fig_05_available"), AE_BY, (AE_BY[0], "optimum"))
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"own encoder − optimum by images available: {_said(rows)}",
        "No image is added for it.",
    )
