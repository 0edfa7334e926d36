"""The rules of our own findings on tuned methods on the clock (notebook 08): one function for each of ``ours.toml``."""

from __future__ import annotations

import math

import pandas as pd

from gfe_companion.evidence.claims import Finding, Read, Unmeasured, holds
from gfe_companion.evidence.clock import crossing, lead
from gfe_companion.evidence.intervals import Interval, interval

AE, FAST, REHEARSED = "ae", "gfe_fast", "gfe_rehearsed"
OWN, OPTIMUM = "own", "optimum"  # how test images are encoded: in one pass, or by quasi-Newton


def _tuned(read: Read, method: str, encoding: str) -> pd.DataFrame:
    """The chosen points of ``fig8_tuned`` for a way of training a decoder and a way of encoding; one or more."""
    frame = read("fig8_tuned")
    found = frame[frame.chosen & (frame.method == method) & (frame.encoding == encoding)]
    if found.empty:
        raise Unmeasured(f"No tuned decoder of {method} was encoded in the way “{encoding}”.")
    return found


def _tuned_leads(ours: pd.DataFrame, other: pd.DataFrame) -> Interval:
    """The smallest lead of ``ours`` on ``other`` in each seed, an interval over seeds."""
    by = dict(list(other.groupby("seed")))
    leads = [lead(part, by[seed]) for seed, part in ours.groupby("seed") if seed in by]
    if not (values := [float(each.min()) for each in leads if len(each)]):
        raise Unmeasured("The tuned methods were not measured over a common time.")
    return interval(values)


def _until(ours: pd.DataFrame, other: pd.DataFrame) -> str:
    """Where the mean curve of ``ours`` lies below that of ``other``, in words."""
    mean, theirs = (part.groupby(["tuning", "budget"])[["seconds", "loss"]].mean() for part in (ours, other))
    at, seconds = crossing(mean, theirs), lead(mean, theirs).index
    if math.isinf(at):
        return f"at every time from {seconds.min():.2g} s to {seconds.max():.3g} s"
    return f"until {at:.2g} s" if at > seconds.min() else f"not even at {at:.2g} s, the first time they have in common"


def ours_below_tuned_ae(read: Read) -> Finding:
    """The smallest lead of a seed is above zero: that of the accelerated GFE's test loss on that of the AE under its
    own encoder, relative, at a measured time of either, from where both have begun. Both are tuned by the same sweep;
    each has the lower envelope over its settings, chosen by the mean validation loss.
    """
    ours, other = _tuned(read, FAST, OPTIMUM), _tuned(read, AE, OWN)
    row = _tuned_leads(ours, other)
    return Finding(
        holds(row),
        f"smallest lead {row:.1%}",
        f"In the mean over seeds tuned GFE lies below the tuned AE under its own encoder {_until(ours, other)}.",
    )


def ours_below_encoded_ae(read: Read) -> Finding:
    """The same against the AE's decoder with test images encoded by quasi-Newton, as GFE's are: the smallest lead of a
    seed is above zero.
    """
    ours, other = _tuned(read, FAST, OPTIMUM), _tuned(read, AE, OPTIMUM)
    row = _tuned_leads(ours, other)
    return Finding(
        holds(row),
        f"smallest lead {row:.1%}",
        f"In the mean over seeds tuned GFE lies below the tuned AE's decoder, encoded at the optimum too, "
        f"{_until(ours, other)}.",
    )


def ours_rehearsed_below_encoded_ae(read: Read) -> Finding:
    """The same for GFE whose encoded batches are rehearsed, against the AE's decoder encoded at the optimum: the
    smallest lead of a seed is above zero.
    """
    ours, other = _tuned(read, REHEARSED, OPTIMUM), _tuned(read, AE, OPTIMUM)
    row = _tuned_leads(ours, other)
    return Finding(
        holds(row),
        f"smallest lead {row:.1%}",
        f"In the mean over seeds rehearsed GFE lies below the tuned AE's decoder, encoded at the optimum too, "
        f"{_until(ours, other)}.",
    )
