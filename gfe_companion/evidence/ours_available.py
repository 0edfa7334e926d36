"""The rules of our own findings on images available (notebook 05): one function for each finding of ``ours.toml``."""

from __future__ import annotations

import math

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.available import AE_BY, GFE_BY
from gfe_companion.evidence.claims import Finding, Read, Unmeasured, all_of, holds
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.overfit import HARDLY, rises

OPTIMISED = {"semi_amortised", "auto_decoder"}  # opponents that optimise the latents of training images
NEAR = 0.05  # relative


def _paired(frame: pd.DataFrame, one: tuple[str, str], other: tuple[str, str]) -> dict[str, Interval]:
    """Test losses of ``one`` method and encoder minus those of the ``other``, over seeds, by number of images."""
    keys = ["dataset", "available", "seed"]
    sides = [frame[(frame.method == m) & (frame.encoder == e)].set_index(keys).test for m, e in (one, other)]
    difference = (sides[0] - sides[1]).dropna().reset_index()
    if difference.empty:
        raise Unmeasured("The profile did not run both on the same images.")
    several = difference.dataset.nunique() > 1
    return {
        f"{f'{REGISTRY[dataset].title} ' * several}{images:,}": interval(part.test)
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


def ours_encoder_overfits(read: Read) -> Finding:
    """On few images the AE's validation loss by its own encoder comes to lie more than 5 % above its lowest so far, and
    that of its decoder, encoded at the optimum, never does, nor does that of GFE.
    """
    found = rises(read("fig_05_overfit"))
    own, others = found.pop(AE_BY), found
    said = {f"{'AE' if method == AE_BY[0] else 'GFE'}, {by}": row for (method, by), row in others.items()}
    return Finding(
        all_of([holds(own, HARDLY), *(holds(row, -math.inf, HARDLY) for row in said.values())]),
        f"largest rise: AE, own {own:.1%}; {'; '.join(f'{name} {row:.1%}' for name, row in said.items())}",
        "A training that ends early may not have come to its rise.",
    )


def _above(frame: pd.DataFrame, encoder: str) -> dict[str, Interval]:
    """Test losses of each opponent minus those of the GFE that it is compared with, by the same ``encoder``; titles."""
    part = frame[frame.encoder == encoder].pivot(index="seed", columns="opponent", values="test")
    against = dict(zip(frame.opponent, frame.against, strict=True))
    ours = {*against.values()}
    rows = {name: (part[name] - part[against[name]]).dropna() for name in part if name not in ours}
    titles = dict(zip(frame.opponent, frame.title, strict=True))
    return {titles[name]: interval(values) for name, values in rows.items() if len(values)}


def ours_no_encoder_reaches_gfe(read: Read) -> Finding:
    """By its own encoder each opponent's test loss minus GFE's, on the same few images, is above zero. Opponents that
    learn from moved images are compared with GFE that does so too.
    """
    rows = _above(read("table_05_opponents"), "own")
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"opponent − GFE: {_said(rows)}",
        f"The nearest is {min(rows, key=lambda name: rows[name].mean)}.",
    )


def ours_no_decoder_reaches_gfe(read: Read) -> Finding:
    """With test images encoded at the optimum, too, each opponent's test loss minus GFE's is above zero. Opponents that
    learn from moved images are compared with GFE that does so too.
    """
    rows = _above(read("table_05_opponents"), "optimum")
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"opponent − GFE: {_said(rows)}",
        f"The nearest is {min(rows, key=lambda name: rows[name].mean)}.",
    )


def ours_optimum_repairs_all(read: Read) -> Finding:
    """Of each opponent that has an encoder, the test loss by that encoder minus that of its decoder, encoded at the
    optimum, is above zero.
    """
    frame = read("table_05_opponents")
    frame = frame[~frame.opponent.isin(set(frame.against))]
    wide = frame.pivot(index=["title", "seed"], columns="encoder", values="test")
    repaired = (wide.own - wide.optimum).dropna()
    rows = {str(name): interval(part) for name, part in repaired.groupby("title", sort=False)}
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"own encoder − optimum: {_said(rows)}",
        "Each is at its own best point by validation, for either encoder.",
    )


def ours_optimised_latents_suffice(read: Read) -> Finding:
    """With test images encoded at the optimum, the test loss of the opponents that optimise the latents of their
    training images (refined latents, auto-decoder) lies less than 5 % above GFE's, and that of each other opponent on
    the same images, without shifts, lies more than 5 % above it.
    """
    frame = read("table_05_opponents").query("encoder == 'optimum' and against == @GFE_BY[0]")
    wide = frame.pivot(index="seed", columns="opponent", values="test")
    titles = dict(zip(frame.opponent, frame.title, strict=True))
    above = {name: interval((wide[name] / wide[GFE_BY[0]] - 1).dropna()) for name in wide if name != GFE_BY[0]}
    if missing := OPTIMISED - above.keys():
        raise Unmeasured(f"The profile did not run {' and '.join(sorted(missing))}.")
    parts = (holds(row, -math.inf, NEAR) if name in OPTIMISED else holds(row, NEAR) for name, row in above.items())
    return Finding(
        all_of(parts),
        f"above GFE: {'; '.join(f'{titles[name]} {row:.1%}' for name, row in above.items())}",
        "They differ from GFE in where the latents of training images start and how well they are optimised.",
    )
