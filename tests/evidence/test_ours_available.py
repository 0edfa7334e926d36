"""Our findings on images available: each rule on each side of its limit, and what is read off curves."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gfe_companion.evidence import ours_available as ours
from gfe_companion.evidence.available import images_for_the_same
from gfe_companion.evidence.claims import NO, PARTLY, UNDECIDED, YES, Unmeasured

NOISE = (-1e-3, 0.0, 1e-3)
IMAGES = (120, 480, 1920)
LOSSES = {("ae", "own"): 0.2, ("ae", "optimum"): 0.15, ("gfe_fast", "own"): 0.1, ("gfe_fast", "optimum"): 0.1}


def made(seeds=3, datasets=("mnist",), **changed):
    """The file fig_05_available; ``changed`` losses by method and encoder, such as ae_own, at 480 images."""
    rows = [
        (dataset, method, seed, images, encoder, loss + NOISE[seed] * (method == "ae"))
        for dataset in datasets
        for images in IMAGES
        for (method, encoder), usual in LOSSES.items()
        for loss in [changed.get(f"{method}_{encoder}", usual) if images == 480 else usual]
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "available", "encoder", "test"])


def judged(rule, frame):
    return rule(lambda name: frame).verdict


def test_gfe_must_be_below_at_each_number_of_images():
    for rule in (ours.ours_fewer_images_available, ours.ours_fewer_images_elsewhere):
        assert judged(rule, made()) == YES
        assert judged(rule, made(seeds=1)) == UNDECIDED
        assert judged(rule, made(ae_own=0.1)) == UNDECIDED
        assert judged(rule, made(ae_own=0.09)) == PARTLY
    below = made()
    below.loc[below.method == "ae", "test"] = 0.05
    assert judged(ours.ours_fewer_images_available, below) == NO


def test_what_is_measured_is_named_by_data_set_where_there_are_several():
    said = ours.ours_fewer_images_available(lambda name: made()).measured
    assert "480: 0.1000 ± 0.0025" in said and "mnist" not in said
    frame = made(datasets=("fashion_mnist", "segmented_mnist"))
    assert "fashion_mnist 480: 0.1000" in ours.ours_fewer_images_elsewhere(lambda name: frame).measured


def test_the_optimum_repairs_where_it_lowers_the_loss_of_the_ae():
    assert judged(ours.ours_optimum_repairs, made()) == YES
    assert judged(ours.ours_optimum_repairs, made(ae_optimum=0.25)) == PARTLY


def test_methods_that_were_not_run_are_not_judged():
    frame = made()
    with pytest.raises(Unmeasured):
        judged(ours.ours_fewer_images_available, frame[frame.method == "ae"])


def test_every_rule_has_its_finding():
    told = tomllib.loads(Path(ours.__file__).with_name("ours.toml").read_text(encoding="utf-8"))["finding"]
    assert {name for name in vars(ours) if name.startswith("ours_")} <= {finding["name"] for finding in told}


def curves(ae, gfe=0.1, images=(100, 1000, 10_000)):
    """A seed for each list of the AE's losses; GFE has ``gfe`` from 100 images."""
    rows = [("ae", "own", s, n, loss) for s, losses in enumerate(ae) for n, loss in zip(images, losses, strict=True)]
    rows += [("gfe_fast", "own", s, 100, gfe) for s in range(len(ae))]
    return pd.DataFrame(rows, columns=["method", "encoder", "seed", "available", "test"])


def test_images_for_the_same_loss_are_read_off_logarithmic_axes():
    found = images_for_the_same(curves([[0.4, 0.2, 0.05]]), 100)
    assert found.mean == pytest.approx(10**3.5)  # 0.1 lies half way from 0.2 to 0.05
    assert "3,200 images, 31.6 times as many" in found.needed()
    two = images_for_the_same(curves([[0.4, 0.1, 0.05], [0.4, 0.2, 0.1]]), 100)
    assert two.mean == pytest.approx(10**3.5) and two.low < 1000 < 10_000 < two.high
    assert np.isclose(two.low * two.high, two.mean**2)


def test_what_is_not_reached_or_reached_at_once_is_said():
    assert images_for_the_same(curves([[0.4, 0.3, 0.2]]), 100).needed() == "more than 10,000 images"
    some = images_for_the_same(curves([[0.4, 0.3, 0.2], [0.4, 0.2, 0.05]]), 100)
    assert some.needed() == "more than 10,000 images (1 of 2 seeds)"
    assert images_for_the_same(curves([[0.08, 0.07, 0.06]]), 100).needed() == "at most 100 images"
    with pytest.raises(ValueError, match="no seed has both"):
        images_for_the_same(curves([[0.4, 0.2, 0.05]]), 480)
