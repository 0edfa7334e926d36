"""Our findings on images available: each rule on each side of its limit, and what is read off curves."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gfe_companion.evidence import ours_available as ours
from gfe_companion.evidence.available import images_for_the_same
from gfe_companion.evidence.claims import NO, PARTLY, UNDECIDED, YES, Unmeasured
from gfe_companion.evidence.overfit import rises, rises_in_words

NOISE = (-1e-3, 0.0, 1e-3)
IMAGES = (120, 480, 1920)
LOSSES = {("ae", "own"): 0.2, ("ae", "optimum"): 0.15, ("gfe_fast", "own"): 0.1, ("gfe_fast", "optimum"): 0.1}


def made(seeds=3, datasets=("mnist",), unfinished=(), **changed):
    """The file fig_05_available; ``changed`` losses by method and encoder, such as ae_own, at 480 images.

    Of ``unfinished`` numbers of images one seed of each method was still at its best when its budget ended.
    """
    rows = [
        (
            dataset,
            method,
            seed,
            images,
            encoder,
            loss + NOISE[seed] * (method == "ae"),
            images in unfinished and not seed,
        )
        for dataset in datasets
        for images in IMAGES
        for (method, encoder), usual in LOSSES.items()
        for loss in [changed.get(f"{method}_{encoder}", usual) if images == 480 else usual]
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "available", "encoder", "test", "last"])


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


def test_an_ae_whose_budget_ended_too_early_speaks_against_gfe_alone():
    rule = ours.ours_fewer_images_available
    some = rule(lambda name: made(unfinished=(1920,)))
    assert some.verdict == YES and "480: 0.1000" in some.measured and "1,920+: 0.1000" in some.measured
    assert some.sentence.endswith(ours.PLUS) and ours.PLUS not in rule(lambda name: made()).sentence
    assert judged(rule, made(unfinished=IMAGES)) == UNDECIDED
    assert judged(rule, made(unfinished=(480,), ae_own=0.09)) == PARTLY, "it is below GFE already"
    of_gfe = made(unfinished=IMAGES)
    of_gfe.loc[of_gfe.method == "ae", "last"] = False
    assert judged(rule, of_gfe) == YES, "GFE might only come lower"


def test_what_is_measured_is_named_by_data_set_where_there_are_several():
    said = ours.ours_fewer_images_available(lambda name: made()).measured
    assert "480: 0.1000 ± 0.0025" in said and "mnist" not in said
    frame = made(datasets=("fashion_mnist", "segmented_mnist"))
    assert "FashionMNIST 480: 0.1000" in ours.ours_fewer_images_elsewhere(lambda name: frame).measured


def test_the_optimum_repairs_where_it_takes_off_more_than_a_twentieth():
    assert judged(ours.ours_optimum_repairs, made()) == YES
    assert "480: 25.0% ± 0.3%" in ours.ours_optimum_repairs(lambda name: made()).measured
    assert judged(ours.ours_optimum_repairs, made(ae_optimum=0.195)) == PARTLY, "less, which says little"
    assert judged(ours.ours_optimum_repairs, made(seeds=1)) == UNDECIDED


def test_methods_that_were_not_run_are_not_judged():
    frame = made()
    with pytest.raises(Unmeasured):
        judged(ours.ours_fewer_images_available, frame[frame.method == "ae"])
    with pytest.raises(Unmeasured, match="no column last yet"):
        judged(ours.ours_fewer_images_available, frame.drop(columns="last"))


def test_every_rule_has_its_finding():
    told = tomllib.loads(Path(ours.__file__).with_name("ours.toml").read_text(encoding="utf-8"))["finding"]
    assert {name for name in vars(ours) if name.startswith("ours_")} <= {finding["name"] for finding in told}


def curves(ae, gfe=0.1, images=(100, 1000, 10_000)):
    """A seed for each list of the AE's losses; GFE has ``gfe`` from 100 images."""
    rows = [("ae", "own", s, n, loss) for s, losses in enumerate(ae) for n, loss in zip(images, losses, strict=True)]
    rows += [("gfe_fast", "own", s, 100, gfe) for s in range(len(ae))]
    return pd.DataFrame(rows, columns=["method", "encoder", "seed", "available", "test"]).assign(last=False)


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


def test_an_ae_that_might_have_come_lower_needs_so_many_with_its_budgets():
    frame = curves([[0.4, 0.3, 0.2]])
    frame.loc[(frame.method == "ae") & (frame.available == 10_000), "last"] = True
    said = images_for_the_same(frame, 100).needed()
    assert said == "more than 10,000 images, with the budgets that its trainings had"


# --- what overfits


def followed(own=(0.2, 0.15, 0.2), optimum=(0.2, 0.14, 0.14), gfe=(0.2, 0.1, 0.1), seeds=3):
    """The file fig_05_overfit: validation losses at three points."""
    curves = {("ae", "own"): own, ("ae", "optimum"): optimum, ("gfe_fast", "own"): gfe, ("gfe_fast", "optimum"): gfe}
    rows = [
        (method, encoder, seed, images, loss + NOISE[seed])
        for (method, encoder), losses in curves.items()
        for seed in range(seeds)
        for images, loss in zip((16, 32, 48), losses, strict=True)
    ]
    return pd.DataFrame(rows, columns=["method", "encoder", "seed", "images", "validation"])


def test_the_encoder_overfits_where_its_loss_alone_rises():
    rule = ours.ours_encoder_overfits
    assert judged(rule, followed()) == YES
    assert judged(rule, followed(seeds=1)) == UNDECIDED
    assert judged(rule, followed(own=(0.2, 0.15, 0.151))) == PARTLY, "it does not rise"
    assert judged(rule, followed(own=(0.2, 0.15, 0.14))) == UNDECIDED, "it still falls"
    assert "48 images seen (AE) and 48 (GFE)" in rule(lambda name: followed()).sentence
    assert judged(rule, followed(optimum=(0.2, 0.14, 0.2))) == PARTLY, "the decoder's rises, too"
    assert judged(rule, followed(gfe=(0.2, 0.1, 0.12))) == PARTLY
    assert judged(rule, followed(own=(0.2, 0.15, 0.15), optimum=(0.2, 0.14, 0.2), gfe=(0.2, 0.1, 0.2))) == NO
    assert "AE, own 33.3%" in rule(lambda name: followed()).measured


def test_a_rise_is_above_the_lowest_so_far():
    found = rises(followed(own=(0.3, 0.1, 0.2), seeds=1))
    assert found["ae", "own"].mean == pytest.approx(0.2 / 0.1 - 1, rel=0.02)
    assert "rises again, by 101%; at the optimum by 0%" in rises_in_words(found)


# --- opponents


def opposed(own=0.15, optimum=0.12, moved=0.11, seeds=3, refined=0.104, stored=0.103):
    """The file table_05_opponents: AE and GFE, one opponent, and one on moved images beside GFE on moved images."""
    losses = {
        ("ae", "gfe_fast"): (0.2, 0.15), ("gfe_fast", "gfe_fast"): (0.1, 0.1), ("vae", "gfe_fast"): (own, optimum),
        ("auto_decoder", "gfe_fast"): (None, stored), ("semi_amortised", "gfe_fast"): (0.13, refined),
        ("ae_shifts", "gfe_shifts"): (moved, 0.09),
        ("gfe_shifts", "gfe_shifts"): (0.08, 0.08),
    }  # fmt: skip
    rows = [
        (name, name.upper(), against, seed, encoder, loss + NOISE[seed] / 10 * (not name.startswith("gfe")))
        for (name, against), pair in losses.items()
        for encoder, loss in zip(("own", "optimum"), pair, strict=True)
        if loss is not None
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["opponent", "title", "against", "seed", "encoder", "test"]).assign(last=False)


def unfinished(frame, name):
    """One training of the opponent ``name`` was still at its best when its budget ended."""
    return frame.assign(last=(frame.opponent == name) & (frame.seed == 0))


def test_opponents_are_compared_with_the_gfe_that_learns_from_the_same_images():
    rule = ours.ours_no_encoder_reaches_gfe
    found = rule(lambda name: opposed())
    assert found.verdict == YES
    assert "AE_SHIFTS: 0.0300 ± 0.0002" in found.measured, "against GFE on moved images"
    assert "GFE" not in found.measured.replace("opponent − GFE", "") and "AUTO" not in found.measured
    assert found.sentence == "The nearest is AE_SHIFTS."
    assert judged(rule, opposed(moved=0.09)) == YES, "below GFE on images that do not move"
    assert judged(rule, opposed(own=0.09)) == PARTLY
    assert judged(rule, unfinished(opposed(), "vae")) == UNDECIDED
    assert "VAE+: 0.0500" in rule(lambda name: unfinished(opposed(), "vae")).measured
    assert judged(rule, unfinished(opposed(), "gfe_fast")) == YES
    assert judged(rule, opposed(seeds=1)) == UNDECIDED


def test_decoders_are_compared_at_the_optimum():
    rule = ours.ours_no_decoder_reaches_gfe
    found = rule(lambda name: opposed())
    assert found.verdict == YES and "AUTO_DECODER: 0.0030" in found.measured
    assert judged(rule, opposed(optimum=0.095)) == PARTLY
    assert judged(rule, unfinished(opposed(), "auto_decoder")) == UNDECIDED


def test_the_optimum_repairs_whichever_way_a_decoder_was_trained():
    rule = ours.ours_optimum_repairs_all
    found = rule(lambda name: opposed())
    assert found.verdict == YES and "AUTO" not in found.measured and "GFE" not in found.measured
    assert "AE: 25.0% ± 0.0%" in found.measured and "off: AE:" in found.measured
    assert judged(rule, opposed(optimum=0.147)) == PARTLY, "less than a twentieth"


def test_optimised_latents_suffice_where_they_alone_come_close():
    rule = ours.ours_optimised_latents_suffice
    found = rule(lambda name: opposed())
    assert found.verdict == YES and "SHIFTS" not in found.measured
    assert "VAE: 20.0% ± 0.2%" in found.measured and "AUTO_DECODER: 3.0%" in found.measured
    assert judged(rule, opposed(stored=0.12)) == PARTLY, "one that does is far away"
    assert judged(rule, opposed(optimum=0.101)) == PARTLY, "one that does not comes close"
    assert judged(rule, unfinished(opposed(), "vae")) == UNDECIDED, "it might come close"
    assert judged(rule, unfinished(opposed(), "auto_decoder")) == YES, "it is close already"
    assert judged(rule, opposed(seeds=1)) == UNDECIDED
    frame = opposed()
    with pytest.raises(Unmeasured, match="auto_decoder"):
        judged(rule, frame[frame.opponent != "auto_decoder"])
