"""Tables 1 and 2: the autoencoder's loss on those test images on which another method was tested."""

from __future__ import annotations

import math

import pandas as pd

from gfe_companion.runs.evaluate import Evaluate


def on_same_images(losses: pd.Series, test: Evaluate, count: int) -> pd.Series:
    """Of ``losses`` of all test images, those of the ``count`` images that ``test`` encoded, in its order."""
    return losses[:: test.every][:count].reset_index(drop=True)


def beside_ae(runs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """``runs`` with a column ``ae_loss``: what the AE of the same ``by`` loses on the test images of each row.

    An AE is tested on all test images; other methods on the first of them, or on some that are spread evenly. A
    difference of their means would be one of images too. NaN where no such AE was run. Columns needed: method, config
    (an :class:`~gfe_companion.runs.evaluate.Evaluate`) and run.
    """
    ae = {key: part.run.iloc[0].history.loss for key, part in runs[runs.method == "ae"].groupby(by)}
    keys = runs[by].itertuples(index=False, name=None)
    found = [
        float(on_same_images(ae[key], config, len(run.history)).mean()) if key in ae else math.nan
        for key, config, run in zip(keys, runs.config, runs.run, strict=True)
    ]
    return runs.assign(ae_loss=found)
