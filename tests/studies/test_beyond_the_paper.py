"""Notebook 08's studies, where a number can be had by hand."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from gfe_companion.methods import COLD_TEST, FAST, FAST_TEST, METHODS, UNCAPPED
from gfe_companion.runs.configs import Evaluate, Optimum, Race, Train
from gfe_companion.runs.iteration import Iteration
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.ways import Ways
from gfe_companion.studies import beyond_clock, beyond_inexact, beyond_optimum, beyond_plans, beyond_stability
from gfe_companion.studies import beyond_the_paper as study
from gfe_companion.studies import beyond_trainers as trainers
from gfe_core.models import Decoder
from gfe_core.objective import Objective


@pytest.fixture
def setting():
    yield Setting.of("quick", "embedded", device="cpu")
    plt.close("all")


def curve(method, *points, schedule="constant", seed=0):
    return [(schedule, method, seed, images, seconds, loss) for images, seconds, loss in points]


def curves(*parts):
    return pd.DataFrame(sum(parts, []), columns=["schedule", "method", "seed", "images", "seconds", "loss"])


SLOW = ((100, 1.0, 0.3), (1000, 10.0, 0.2))
QUICK = ((100, 2.0, 0.25), (200, 4.0, 0.15), (300, 6.0, 0.16))
BOTH = curves(
    curve("ae", *SLOW), curve("gfe_fast", *QUICK),
    curve("ae", *SLOW, schedule="cosine"), curve("gfe_fast", *QUICK, schedule="cosine"),
)  # fmt: skip


def test_the_notebook_needs_all_its_runs_each_once(setting):
    needed = study.needs(setting)
    assert len(needed) == len(set(needed))
    assert {type(config) for config in needed} == {Evaluate, Iteration, Optimum, Race, Train, Ways}
    for make in (beyond_plans.curves, beyond_plans.stability, beyond_plans.auto_decoders):
        assert set(make(setting).config) <= set(needed)


def test_a_learner_is_tested_by_its_own_encoder_a_hurried_one_with_more_trials(setting):
    for name, (solver, tester, _) in (beyond_plans.trainers() | beyond_plans.remedies(setting)).items():
        if "cold" in name or not name.startswith(("warm", "zero", "none", "penalty", "weight", "decay", "stop")):
            assert tester is solver, name
        else:
            assert type(tester) is type(solver) and tester.penalty == solver.penalty, name
            assert tester.solver == FAST_TEST.solver, name
    by = beyond_plans.curves(setting).groupby("method").config.first().map(lambda test: test.solver)
    assert by.dropna().to_dict() == {"gfe_fast": FAST_TEST, "gfe_amd_uncapped": UNCAPPED}
    assert {test.solver for test in beyond_plans.auto_decoders(setting).config} == {COLD_TEST}
    assert beyond_plans.trainers()[beyond_plans.ACCELERATED].solver == FAST


def test_a_test_has_the_mean_loss_of_the_first_images_and_the_seconds_up_to_it(setting, monkeypatch):
    plan = beyond_plans.curves(setting).query("method == 'gfe_fast'")[:2].assign(images=[160, 320])
    tested = pd.DataFrame({"loss": [0.1] * setting.profile.beyond_tested + [9.0]})
    trained = pd.DataFrame({"images": [160], "seconds": [1.5]})  # it collapsed before 320

    def run_grid(configs, setting):
        return [SimpleNamespace(history=tested if isinstance(c, Evaluate) else trained) for c in configs]

    monkeypatch.setattr(beyond_plans, "run_grid", run_grid)
    found = beyond_plans.tested(plan, setting)
    assert found.images.tolist() == [160]
    assert found.loss.tolist() == pytest.approx([0.1]) and found.seconds.tolist() == [1.5]


def test_the_clock_says_when_the_autoencoders_last_loss_is_reached(setting):
    times = beyond_clock.times_of(BOTH)
    assert list(times) == ["seed", "ae", "gfe", "schedule"] and times.ae.tolist() == pytest.approx([10.0, 10.0])
    assert times.gfe.tolist() == pytest.approx([8**0.5] * 2)  # halfway from 2 s to 4 s, in logarithms
    row = beyond_clock.table_verdict(setting, BOTH, times).shown.iloc[0]
    assert row["GFE below the AE"] == "at 100% of 4 times"
    assert row["largest rise of a seed"] == "6.7% (to 300 images)"
    assert row["seconds to the AE's last loss, GFE / AE"] == "2.83 / 10"
    assert row["largest ratio of a seed"] == "0.28"
    late = BOTH.assign(seconds=BOTH.seconds.where(BOTH.method == "ae", BOTH.seconds + 100))
    assert beyond_clock.table_verdict(setting, late, times).shown.iloc[0]["GFE below the AE"] == "no time in common"


def test_an_ae_that_has_long_been_at_its_last_loss_is_timed_where_it_came_to_it():
    longer = (*SLOW, (5000, 50.0, 0.2))
    stays = curves(*(curve(name, *points, schedule=schedule) for schedule in ("constant", "cosine")
                     for name, points in (("ae", longer), ("gfe_fast", QUICK))))  # fmt: skip
    assert beyond_clock.times_of(stays).ae.tolist() == pytest.approx(beyond_clock.times_of(BOTH).ae.tolist())
    assert beyond_clock.say_price(stays).split("after")[1] == beyond_clock.say_price(BOTH).split("after")[1]


def test_the_price_of_an_image_is_beside_how_many_it_takes():
    said = beyond_clock.say_price(BOTH)
    assert "costs the accelerated GFE 2.0 times" in said  # 6 s for 300 images, the AE 10 s for 1,000
    assert "after 14.1% of the AE's images" in said  # halfway from 100 to 200, in logarithms
    assert "and 28.3% of its seconds" in said  # 2.83 s of 10
    late = BOTH.assign(loss=BOTH.loss.where(BOTH.method == "ae", BOTH.loss + 1))
    assert "does not come down" in beyond_clock.say_price(late)


def test_the_auto_decoders_best_rate_is_that_of_the_lowest_validation_loss(setting):
    rows = [(0.1, 0, 100, 3.0, 0.3), (2.0, 0, 100, 3.0, 0.2), (0.1, 0, 1000, 3.0, 0.1), (2.0, 0, 1000, 3.0, 0.15)]
    stored = pd.DataFrame([*rows, (2.0, 1, 1000, 3.0, 0.01)], columns=["rate", "seed", "images", "seconds", "loss"])
    stored["validation"] = [float("nan"), float("nan"), 0.12, 0.16, float("nan")]
    assert beyond_clock.best_rate(stored) == 0.1
    shown = beyond_clock.table_stored(setting, BOTH, stored).shown
    assert shown["GFE, accelerated"].tolist() == ["0.2500", "-"]
    halfway = 0.25 - 0.1 * torch.log(torch.tensor(1.5)) / torch.log(torch.tensor(2.0))
    assert float(shown["GFE, accelerated, at the same time"][0]) == pytest.approx(float(halfway), abs=1e-4)
    drawn = beyond_clock.fig8_clock(setting, BOTH, stored).data
    assert drawn[drawn.method == "auto_decoder"].loss.tolist() == [0.3, 0.1]
    assert beyond_clock.best_rate(stored.assign(validation=-stored.validation)) == 2.0, "not the test loss"


def test_seeds_that_are_not_used_are_not_claimed(setting):
    assert "page: 0. One seed gives no interval." in beyond_clock.say_sizes(setting)
    assert "page: 4. Test losses" in beyond_clock.say_sizes(replace(setting, seeds=(4,)))


def trained(tested=0.0):
    """Encoders from fast to slow: one that is beaten, ours, a slower one; ``tested`` is added to ours' test loss."""
    ours, patient = beyond_plans.ACCELERATED, beyond_plans.PATIENT
    rows = [("hurried", 1.0, 0.2, 0.1), ("beaten", 2.5, 0.11, 0.01), (ours, 2.0, 0.1, 0.3 + tested),
            (patient, 6.0, 0.09, 0.3)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["trainer", "seconds", "validation", "loss"])
    return frame.assign(seed=0, images=960, speedup=1.0)


@pytest.mark.parametrize("tested", [0.0, 9.0])
def test_encoders_are_compared_by_validation_images_alone(setting, tested):
    said = trainers.say_trainers(trained(tested))
    ours, patient = beyond_plans.ACCELERATED, beyond_plans.PATIENT
    assert f"time and loss: *hurried*, *{ours}* and *{patient}*." in said and f"*{ours}*, is one of them." in said
    assert "lie: hurried (+100%); beaten (+10%). *" in said and "by -10.0%, for 3.0 times the seconds" in said
    marks = trainers.table_trainers(setting, trained(tested)).shown.encoder.tolist()
    assert marks == ["hurried*", "beaten", f"{ours}*", f"{patient}*"]
    other = trained(tested).assign(validation=lambda f: f.validation.where(f.trainer != "hurried", 0.05))
    assert f"*{ours}*, is **not** one of them" in trainers.say_trainers(other)


def test_validation_images_are_encoded_as_test_images_are(setting, monkeypatch):
    plan = beyond_plans.compared(setting)
    config = plan[plan.trainer == beyond_plans.ACCELERATED].config.iloc[0]
    decoder = Decoder(generator=torch.Generator().manual_seed(0))
    known = {"map": torch.zeros(785, 20), "factor": torch.eye(20)}
    kept = {str(config.images): decoder.state_dict(), f"{config.images} start": known}
    monkeypatch.setattr(trainers, "run_grid", lambda configs, setting: [SimpleNamespace(weights=kept)])
    images = setting.load().validation.images[: setting.profile.clock_validated]
    expected = config.solver.encoder(known).encode(Objective(decoder, images)).loss.mean()
    assert trainers._validation(setting, config) == pytest.approx(float(expected), rel=1e-3)
    assert not torch.equal(images, setting.load().test.images[: len(images)])


@pytest.mark.parametrize(("fast", "said"), [(0.101, "part is its encoder"), (0.05, "part is in its decoder")])
def test_what_an_autoencoder_lacks_depends_on_the_larger_part(fast, said):
    rows = [("ae", 960, 0.1, 0.1, 0.0), ("gfe_fast", 960, 0.01, fast, 0.0), ("gfe_amd_uncapped", 960, 0.1, 0.1, 0.3)]
    gaps = pd.DataFrame(rows, columns=["method", "images", "gap", "optimum", "zero_gap"])
    text = beyond_optimum.say_left(gaps.assign(schedule="constant", seed=0, agree=0.5))
    assert said in text and "ends **10.0%** above" in text
    assert ("1.0% above" if fast > 0.1 else "50.0% below") in text
    assert "learn to fit each other" in text


def test_collapsed_trainings_are_counted_and_shown(setting):
    names = list(beyond_plans.remedies(setting))
    rows = [(name, 0, 3840, 0.2, 0.1, 0.15, 1.0, 10.0) for name in names[1:]]
    stability = pd.DataFrame(rows, columns=beyond_stability.COLUMNS)
    assert beyond_stability.collapsed(setting, stability) == dict.fromkeys(names, 0) | {names[0]: 1}
    first, second = beyond_stability.table_stability(setting, stability).shown.to_dict("records")[:2]
    assert first["collapsed"] == "1 of 1" and first["optimum"] == "-"
    assert second["from zero, above it"] == "50.0%"
    picture = beyond_stability.fig8_stability(setting, stability)
    labels = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert labels[0] == f"{names[0]}\n(1 of 1 collapsed)" and labels[1] == names[1]
    assert f"{names[0]}: all collapsed" in picture.alt


def test_an_axis_has_few_ticks_however_far_it_goes():
    assert beyond_stability.decades(20, 200) == [30, 100]
    assert beyond_stability.decades(5, 500) == [10, 100]
    assert all(len(beyond_stability.decades(0.1, 10.0**power)) <= 4 for power in range(1, 12))


def test_starts_are_compared_with_the_best(setting):
    rows = [(s, k, loss) for s, part in (("zero", (1.0, 0.3, 0.2, 0.1)), ("linear map", (0.5, 0.2, 0.15, 0.1)))
            for k, loss in zip((0, 5, 20, 200), part, strict=True)]  # fmt: skip
    starts = pd.DataFrame(rows, columns=["start", "trials", "loss"])
    shown = beyond_inexact.table_starts(setting, starts).shown
    assert shown.start.tolist() == ["zero", "linear map"]
    assert shown["after 5 trials, above the best"].tolist() == ["200.00%", "100.00%"]


def test_what_a_training_kept_is_a_decoder_and_an_encoder_at_each_point():
    decoders = {images: Decoder(generator=torch.Generator().manual_seed(images)) for images in (16, 32)}
    weights = {str(images): decoder.state_dict() for images, decoder in decoders.items()}
    weights |= {f"{i} start": {"map": torch.full((785, 20), 1.0 * i), "factor": torch.eye(20)} for i in decoders}
    kept = beyond_inexact.Kept(weights, images=32, earlier=16)
    assert torch.equal(kept.decoder()[0].weight, decoders[32][0].weight)
    assert torch.equal(kept.before().decoder()[0].weight, decoders[16][0].weight)
    assert kept.before().warm(7).state["map"].unique() == 16
    assert kept.warm(7).settings == beyond_plans.with_trials(7)
    for name in beyond_inexact.STOPPED:
        of = beyond_inexact.stopped(name, 7, kept)
        assert getattr(of, "max_trials", None) == 7 or of.settings == beyond_plans.with_trials(7), name
        assert METHODS[name].solver is None or (of.tolerance == 0.0 and isinstance(of, type(METHODS[name].solver)))
