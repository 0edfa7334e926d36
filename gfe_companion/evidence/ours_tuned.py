"""The rules of our own findings on tuned methods on the clock (notebook 08): one function for each of ``ours.toml``."""

from __future__ import annotations

import math

import numpy as np
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


def _granted(read: Read, encoding: str) -> pd.Series:
    """The AE's validation loss under the best of the settings that all seeds get, over its lowest; by swept budget."""
    sweep = read("table_08_sweep")
    part = sweep[(sweep.method == AE) & (sweep.encoding == encoding)]
    given, lowest = (of.groupby("budget").validation.min() for of in (part[part.given], part))
    if given.empty:
        raise Unmeasured("The settings of the AE were not swept.")
    return (given / lowest).dropna().sort_index()


def _judged(read: Read, ours: pd.DataFrame, encoding: str, of_ours: str, of_theirs: str) -> Finding:
    """The finding on the smallest lead of ``ours`` on the AE under an ``encoding``, which is granted its sweep."""
    other, swept = _tuned(read, AE, encoding), _granted(read, encoding)
    granted = np.interp(np.log(other.budget), np.log(swept.index), swept)
    plain = _tuned_leads(ours, other)
    left = _tuned_leads(ours, other.assign(loss=other.loss / granted))
    lower = " to ".join(dict.fromkeys(f"{1 - 1 / share:.1%}" for share in (granted.min(), granted.max())))
    return Finding(
        holds(left),
        f"smallest lead {plain:.1%}; {left:.1%} with the AE's losses {lower} lower, as its best of the sweep was",
        f"In the mean over seeds {of_ours} lies below {of_theirs} {_until(ours, other)}.",
    )


def _until(ours: pd.DataFrame, other: pd.DataFrame) -> str:
    """Where the mean curve of ``ours`` lies below that of ``other``, in words."""
    mean, theirs = (part.groupby(["tuning", "budget"])[["seconds", "loss"]].mean() for part in (ours, other))
    at, seconds = crossing(mean, theirs), lead(mean, theirs).index
    if math.isinf(at):
        return f"at every time from {seconds.min():.2g} s to {seconds.max():.3g} s"
    return f"until {at:.2g} s" if at > seconds.min() else f"not even at {at:.2g} s, the first time they have in common"


def ours_below_tuned_ae(read: Read) -> Finding:
    """The smallest lead of a seed is above zero: that of the accelerated GFE's test loss on that of the AE under its
    own encoder, relative, at a measured time of either, from where both have begun. Both have the same few settings,
    and the lower envelope over them, chosen by the mean validation loss. The AE's losses count as so much lower as its
    best setting of the sweep lies, on validation images and one seed, below those at the same budget; between two
    budgets that were swept, by an amount between theirs. GFE's do not, whatever its sweep says.
    """
    return _judged(read, _tuned(read, FAST, OPTIMUM), OWN, "tuned GFE", "the tuned AE under its own encoder")


def ours_below_encoded_ae(read: Read) -> Finding:
    """The same against the AE's decoder with test images encoded by quasi-Newton, as GFE's are: the smallest lead of a
    seed is above zero, the AE being granted its best of the sweep.
    """
    theirs = "the tuned AE's decoder, encoded at the optimum too,"
    return _judged(read, _tuned(read, FAST, OPTIMUM), OPTIMUM, "tuned GFE", theirs)


def ours_rehearsed_below_encoded_ae(read: Read) -> Finding:
    """The same for GFE whose encoded batches are rehearsed, against the AE's decoder encoded at the optimum: the
    smallest lead of a seed is above zero, the AE being granted its best of the sweep.
    """
    theirs = "the tuned AE's decoder, encoded at the optimum too,"
    return _judged(read, _tuned(read, REHEARSED, OPTIMUM), OPTIMUM, "rehearsed GFE", theirs)
