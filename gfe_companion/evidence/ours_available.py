"""The rules of our own findings on images available (notebook 05): one function for each finding of ``ours.toml``."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.available import AE_BY, GFE_BY, ae_minus_gfe
from gfe_companion.evidence.claims import NO, UNDECIDED, YES, Finding, Read, Unmeasured, all_of, having, holds
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.overfit import HARDLY, rises, still_falls

OPTIMISED = {"semi_amortised", "auto_decoder"}  # opponents that optimise the latents of training images
NEAR = 0.05  # relative
PLUS = (
    "A plus: some training of the other side was still at its best when its budget ended; where that speaks for the "
    "claim, it does not count."
)


class Compared(NamedTuple):
    """Over seeds, what lies between another method and GFE.

    ``open``: some training of that method was still at its best when its budget ended, and may come down yet.
    """

    found: Interval
    open: bool

    def holds(self, low: float = 0.0) -> str:
        """The verdict on its lying above ``low``, which an open one does not affirm."""
        verdict = holds(self.found, low)
        return UNDECIDED if verdict == YES and self.open else verdict


def _said(rows: dict[str, Compared], spec: str = "") -> str:
    return "; ".join(f"{name}{'+' * row.open}: {row.found:{spec}}" for name, row in rows.items())


def _with_plus(rows: dict[str, Compared], sentence: str) -> str:
    return f"{sentence} {PLUS}" if any(row.open for row in rows.values()) else sentence


def _by_images(frame: pd.DataFrame) -> dict[str, Compared]:
    """The AE's test loss minus that of accelerated GFE, both by their own encoder, by number of images available."""
    found = {
        key: Compared(gap, bool(part["last"][(part.method == AE_BY[0]) & (part.encoder == AE_BY[1])].any()))
        for key, part in having(frame, "last").groupby(["dataset", "available"], sort=False)
        if (gap := ae_minus_gfe(part)).count
    }
    if not found:
        raise Unmeasured("The profile did not run both on the same images.")
    several = len({dataset for dataset, _ in found}) > 1
    return {f"{f'{REGISTRY[dataset].title} ' * several}{images:,}": row for (dataset, images), row in found.items()}


def ours_fewer_images_available(read: Read) -> Finding:
    """At each number of images available on MNIST the AE's test loss minus that of accelerated GFE is above zero. Both
    learn from the same images, for as long as it pays by validation, and encode test images by their own encoder. A
    number of images at which some AE was still at its best when its budget ended does not count in GFE's favour.
    """
    rows = _by_images(read("fig_05_available"))
    counted = [holds(row.found) for row in rows.values() if not (row.open and holds(row.found) == YES)]
    about = "Table 1 counts images seen, drawn from all training images; here they are drawn from these alone."
    return Finding(
        all_of(counted or [UNDECIDED]), f"AE − GFE by images available: {_said(rows)}", _with_plus(rows, about)
    )


def ours_fewer_images_elsewhere(read: Read) -> Finding:
    """The same on FashionMNIST and SegmentedMNIST, at each number of images available there."""
    found = ours_fewer_images_available(read)
    return found._replace(sentence=PLUS if PLUS in found.sentence else "")


def _taken_off(frame: pd.DataFrame) -> dict[str, Interval]:
    """What the optimum takes off the test loss by the own encoder, relative, over seeds; by the column title."""
    wide = frame.pivot(index=["title", "seed"], columns="encoder", values="test").dropna()
    share = 1 - wide.optimum / wide.own
    names = [name for name in dict.fromkeys(frame.title) if name in share]
    return {str(name): interval(share[name]) for name in names}


def _repairs(frame: pd.DataFrame, by: str, sentence: str) -> Finding:
    rows = _taken_off(frame)
    said = "; ".join(f"{name}: {row:.1%}" for name, row in rows.items())
    return Finding(all_of(holds(row, NEAR) for row in rows.values()), f"the optimum takes off{by}: {said}", sentence)


def ours_optimum_repairs(read: Read) -> Finding:
    """At each number of images available on MNIST the test loss of the AE's decoder, encoded at the optimum, lies more
    than 5 % below that by its own encoder. (That it lies below at all says little: few optima lie above.) Each is
    tested at its own best point by validation.
    """
    ae = read("fig_05_available").query("method == @AE_BY[0]")
    titled = ae.assign(title=[f"{images:,}" for images in ae.available])
    return _repairs(titled, ", by images available", "No image is added for it.")


def ours_optimum_repairs_all(read: Read) -> Finding:
    """Of each opponent that has an encoder, the test loss of its decoder, encoded at the optimum, lies more than 5 %
    below that by its own encoder.
    """
    frame = read("table_05_opponents")
    theirs = frame[~frame.opponent.isin(set(frame.against))]
    return _repairs(theirs, "", "Each is at its own best point by validation, for either encoder.")


def ours_encoder_overfits(read: Read) -> Finding:
    """On few images the AE's validation loss by its own encoder comes to lie more than 5 % above its lowest so far, and
    that of its decoder, encoded at the optimum, never does while it is watched, nor does that of GFE. That the AE's
    does not is undecided where some training's lowest is its last.
    """
    curves = read("fig_05_overfit")
    found, seen = rises(curves), curves.groupby("method").images.max()
    own, others = found.pop(AE_BY), found
    said = {f"{'AE' if method == AE_BY[0] else 'GFE'}, {by}": row for (method, by), row in others.items()}
    first = holds(own, HARDLY)
    early = first == NO and still_falls(curves, AE_BY)
    return Finding(
        all_of([UNDECIDED if early else first, *(holds(row, -math.inf, HARDLY) for row in said.values())]),
        f"largest rise: AE, own {own:.1%}; {'; '.join(f'{name} {row:.1%}' for name, row in said.items())}",
        f"Watched to {seen[AE_BY[0]]:,} images seen (AE) and {seen[GFE_BY[0]]:,} (GFE); a rise may come later.",
    )


def _above(frame: pd.DataFrame, encoder: str, relative: bool = False) -> dict[str, Compared]:
    """Test losses of each opponent minus those of the GFE that it is compared with, by the same ``encoder``."""
    part = frame[frame.encoder == encoder].set_index("seed")
    rows = {}
    for name, theirs in part.groupby("opponent"):
        if name not in set(frame.against):
            ours = part[part.opponent == theirs.against.iloc[0]].test
            values = ((theirs.test - ours) / (ours if relative else 1)).dropna()
            if len(values):
                rows[str(name)] = Compared(interval(values), bool(theirs["last"].any()))
    return rows


def _none_reaches_gfe(frame: pd.DataFrame, encoder: str) -> Finding:
    titles = dict(zip(frame.opponent, frame.title, strict=True))
    rows = {titles[name]: row for name, row in _above(frame, encoder).items()}
    return Finding(
        all_of(row.holds() for row in rows.values()),
        f"opponent − GFE: {_said(rows)}",
        _with_plus(rows, f"The nearest is {min(rows, key=lambda name: rows[name].found.mean)}."),
    )


def ours_no_encoder_reaches_gfe(read: Read) -> Finding:
    """By its own encoder each opponent's test loss minus GFE's, on the same few images, is above zero. Opponents that
    learn from moved images are compared with GFE that does so too. It is undecided of an opponent of which some
    training was still at its best when its budget ended.
    """
    return _none_reaches_gfe(read("table_05_opponents"), "own")


def ours_no_decoder_reaches_gfe(read: Read) -> Finding:
    """With test images encoded at the optimum, too, each opponent's test loss minus GFE's is above zero. Opponents that
    learn from moved images are compared with GFE that does so too. It is undecided of an opponent of which some
    training was still at its best when its budget ended.
    """
    return _none_reaches_gfe(read("table_05_opponents"), "optimum")


def ours_optimised_latents_suffice(read: Read) -> Finding:
    """With test images encoded at the optimum, the test loss of the opponents that optimise the latents of their
    training images (refined latents, auto-decoder) lies less than 5 % above GFE's, and that of each other opponent on
    the same images, without shifts, lies more than 5 % above it. The latter is undecided of an opponent of which some
    training was still at its best when its budget ended.
    """
    frame = read("table_05_opponents").query("against == @GFE_BY[0]")
    titles, above = dict(zip(frame.opponent, frame.title, strict=True)), _above(frame, "optimum", relative=True)
    if missing := OPTIMISED - above.keys():
        raise Unmeasured(f"The profile did not run {' and '.join(sorted(missing))}.")
    parts = (holds(row.found, -math.inf, NEAR) if name in OPTIMISED else row.holds(NEAR) for name, row in above.items())
    about = "They differ from GFE in where the latents of training images start and how well they are optimised."
    return Finding(
        all_of(parts),
        f"above GFE: {_said({titles[name]: row for name, row in above.items()}, '.1%')}",
        _with_plus(above, about),
    )
