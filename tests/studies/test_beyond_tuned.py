"""Tuned methods on the clock: recipes, budgets, the choice by validation alone, and the tables, on made-up runs."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator

from gfe_companion.evidence.clock import envelope
from gfe_companion.evidence.ours_tuned import OPTIMUM, OWN
from gfe_companion.methods import COLD_TEST
from gfe_companion.methods.recipes import AdamRecipe
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.runs.ways import Ways, ways_of
from gfe_companion.studies import beyond_sweep, beyond_the_paper, beyond_tuned
from gfe_companion.studies import beyond_tuned_plans as plans
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.objective import bce
from gfe_core.training import Training, autoencoder_step


@pytest.fixture
def setting():
    yield Setting.of("quick", "embedded", device="cpu")
    plt.close("all")


def test_a_falling_rate_is_zero_after_the_last_image_and_a_constant_one_never():
    falls, stays = AdamRecipe(learning_rate=0.1, until=200), AdamRecipe(learning_rate=0.1)
    assert [falls.rate(images) for images in (0, 100, 200)] == pytest.approx([0.1, 0.05, 0.0])
    assert {stays.rate(images) for images in (0, 100, 10**6)} == {0.1}
    for tuning in plans.SWEPT:
        recipe = tuning.recipe(640)
        assert recipe.rate(640) == pytest.approx(0.0 if tuning.schedule == "cosine" else tuning.rate), tuning
        assert recipe.batch_size == tuning.batch


@pytest.mark.slow  # torch imports much at its first update
def test_adam_moves_by_its_rate_at_first_and_is_what_the_sweep_asks_for():
    generator = Generator().manual_seed(0)
    model = AutoEncoder(generator)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    images = torch.rand(32, 784, generator=generator)
    training = Training(model, autoencoder_step(model), images, generator, AdamRecipe(16, 1e-3))
    training.advance(16)
    moved = torch.cat([(a - b.detach()).abs().flatten() for a, b in zip(before, model.parameters(), strict=True)])
    assert float(moved.max()) == pytest.approx(1e-3, rel=0.01)
    kinds = {tuning.optimiser: type(tuning.recipe(64).optimizer(model)).__name__ for tuning in plans.SWEPT}
    assert kinds == {"Adam": "Adam", "RMSprop": "RMSprop"}


def test_a_budget_is_whole_batches_and_a_training_ends_with_it(setting):
    assert plans.images_in(0.0, 6400, 64) == 128
    assert plans.images_in(10.0, 6400, 64) == 64_000
    plan = plans.tuned(setting)
    for row in plan.itertuples():
        training, recipe = row.config.training, row.config.training.recipe
        assert training.switch % recipe.batch_size == 0
        assert training.kept == (row.config.images,) and row.config.images % recipe.batch_size == 0
        assert recipe.until == row.config.images, "the rate falls to zero with the budget"
    assert plan.groupby(["method", "tuning", "budget"]).seed.nunique().eq(setting.profile.clock_seeds).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_the_sweep_never_sees_a_test_image_and_all_runs_are_needed(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    sweep = plans.swept(setting)
    assert {config.count for config in sweep.config} == {0} and set(sweep.seed) == {setting.seeds[0]}
    assert set(sweep.method) == set(plans.TRAINERS), "every method that is drawn is swept"
    given = plans.tuned(setting)[["budget", "tuning"]].apply(tuple, axis=1)
    at_ends = sweep[(sweep.method == "ae") & sweep.budget.isin(plans.ends(setting))]
    tried = set(at_ends[["budget", "tuning"]].apply(tuple, axis=1))
    assert {pair for pair in given if pair[0] in plans.ends(setting)} <= tried, "beside what all seeds get there"
    assert set(plans.planned(setting)) <= set(beyond_the_paper.needs(setting))
    assert len(set(plans.SWEPT)) == len(plans.SWEPT) and plans.SWEPT[: len(plans.FINAL)] == plans.FINAL


def test_an_envelope_has_no_point_that_is_later_and_no_lower():
    points = pd.DataFrame({"seconds": [1.0, 2.0, 2.0, 3.0, 4.0], "validation": [0.3, 0.4, 0.2, 0.2, 0.1]})
    assert envelope(points).seconds.tolist() == [1.0, 2.0, 4.0]
    assert envelope(points).validation.tolist() == [0.3, 0.2, 0.1]
    assert envelope(points.sample(frac=1, random_state=0)).equals(envelope(points))


def frame(test=0.0):
    """Losses of both methods at 5 and 20 s under two settings; ``test`` is added to test losses of the first."""
    rows = [
        (method, encoding, tuning, budget, seed, 64, budget, low + worse, low + 2e-4 * seed + (not worse) * test)
        for method, encoding, lows in (
            ("ae", OWN, (0.2, 0.12)), ("ae", OPTIMUM, (0.18, 0.09)), ("gfe_fast", OPTIMUM, (0.1, 0.095)),
            ("gfe_fast", OWN, (0.3, 0.25)), ("gfe_rehearsed", OPTIMUM, (0.1, 0.095)),
            ("gfe_rehearsed", OWN, (0.3, 0.2)),
        )
        for budget, low in zip((5.0, 20.0), lows, strict=True)
        for tuning, worse in (("better", 0.0), ("worse", 0.01))
        for seed in (0, 1)
    ]  # fmt: skip
    columns = ["method", "encoding", "tuning", "budget", "seed", "images", "seconds", "validation", "loss"]
    return beyond_tuned.chosen(pd.DataFrame(rows, columns=columns))


def sweep():
    """A setting that all seeds get, and one that is better by 0.01, of the longer budget and the first seed."""
    named = frame().query("budget == 20 and seed == 0").drop(columns=["loss", "chosen"])
    named = named.assign(tuning=lambda f: f.tuning.map({"better": "other", "worse": str(plans.FINAL[0])}))
    return named.assign(given=named.tuning != "other")


def test_validation_alone_chooses():
    for losses in (frame(), frame(test=1.0)):
        assert set(losses[losses.chosen].tuning) == {"better"}
        assert losses.chosen.sum() == 24


def test_an_image_at_the_optimum_has_the_lower_of_two_starts():
    history = pd.DataFrame(
        {
            "split": ["validation", "test", "test"],
            "own": [0.5, 0.4, 0.2],
            "warm": [0.3, 0.3, 0.1],
            "zero": [0.3, 0.1, 0.3],
        }
    )
    runs = pd.DataFrame(
        [("ae", plans.FINAL[0], 5.0, 0, 64, 5.1, SimpleNamespace(history=history))],
        columns=["method", "tuning", "budget", "seed", "images", "seconds", "run"],
    )
    losses = beyond_tuned.losses_of(runs).set_index("encoding")
    assert losses.loss[OWN] == pytest.approx(0.3) and losses.loss[OPTIMUM] == pytest.approx(0.1)
    assert losses.validation.to_dict() == pytest.approx({OWN: 0.5, OPTIMUM: 0.3})


def test_the_table_has_the_mean_of_seeds_between_trainings_and_nothing_outside(setting):
    shown = beyond_tuned.table_tuned(setting, frame()).shown
    row = shown[(shown["decoder trained as"] == "AE") & (shown["test images encoded"] == "at the optimum")].iloc[0]
    assert row["5 s"] == "0.1801", "the mean of both seeds"
    assert row["10 s"] == "0.1351", "halfway in logarithms"
    assert "50 s" not in shown, "no training took so long"


def test_the_figure_draws_four_curves_and_says_until_when(setting):
    picture = beyond_tuned.fig8_tuned(setting, frame(), sweep())
    axes = picture.figure.axes[0]
    assert len(axes.get_legend_handles_labels()[0]) == 4 and picture.data.chosen.any()
    assert "until 18 s" in picture.alt, picture.alt


def test_the_sweep_says_how_far_ours_lie_above_the_best(setting):
    short = sweep().query("method == 'ae'").assign(budget=2.0)
    both = pd.concat([short, sweep()])
    said = beyond_sweep.say_sweep(both).splitlines()
    told = "best with other; the better setting with a star is 8.3% above."
    assert said[0] == f"- AE, its own encoder, about 2 s: {told}" and "GFE" not in said[1]
    assert said[2] == f"- AE, its own encoder, about 20 s: {told}" and "GFE" in said[-1]
    table = beyond_sweep.table_sweep(setting, both)
    assert table.shown["seconds (about)"].tolist() == ["2", "2", "20", "20"]
    assert table.shown.setting.tolist() == ["other", f"{plans.FINAL[0]}*"] * 2
    assert table.shown["AE, its own encoder"].tolist() == ["0.1200", "0.1300"] * 2
    assert table.shown.iloc[0].tolist().count("-") == 2, "GFE's two columns"
    assert "loss" not in table.data and table.data.given.sum() == len(table.data) / 2


def test_a_setting_is_given_at_the_budgets_at_which_all_seeds_get_it(setting, monkeypatch):
    """Above five seconds the smaller batch is not."""
    rows = [("ae", OWN, str(tuning), budget, 0.1) for tuning in plans.FINAL for budget in (plans.SHORT, 10.0)]
    columns = ["method", "encoding", "tuning", "budget", "loss"]
    monkeypatch.setattr(beyond_sweep, "runs_of", lambda plan, setting: plan)
    monkeypatch.setattr(beyond_sweep, "losses_of", lambda runs: pd.DataFrame(rows, columns=columns))
    given = beyond_sweep.runs_of_sweep(setting).set_index(["tuning", "budget"]).given
    large, small = map(str, plans.FINAL)
    assert given[large].tolist() == [True, True] and given[small].tolist() == [True, False]


def test_the_sweep_costs_as_much_as_is_said():
    """In the paper profile what is swept at the ends, and for rehearsals, takes less than ten minutes of one thread."""
    setting = Setting.of("paper", "embedded", device="cpu")
    sweep, profile = plans.swept(setting), setting.profile
    trained = {config.training for config in plans.tuned(setting).config}
    added = sweep[(sweep.budget != profile.clock_sweep) | (sweep.method == "gfe_rehearsed")]
    assert added[[config.training not in trained for config in added.config]].budget.sum() < 500
    assert len(sweep) - len(added) == 2 * profile.clock_settings


@pytest.mark.parametrize("known", [False, True])
def test_the_ways_start_where_they_say(known):
    generator = Generator().manual_seed(0)
    images = torch.rand(3, 784, generator=generator)
    model = Decoder(generator=generator) if known else AutoEncoder(generator)
    start = {"map": 0.01 * torch.randn(785, 20, generator=generator), "factor": 10 * torch.eye(20)} if known else {}
    ways = ways_of(model, COLD_TEST, start)
    z0 = torch.cat([images, torch.ones(3, 1)], dim=1) @ start["map"] if known else model.encoder(images)
    decoder = getattr(model, "decoder", model)
    assert torch.allclose(ways["own"](images), bce(decoder(z0), images))
    assert (ways["warm"](images) < ways["own"](images)).all()
    assert np.allclose(ways["warm"](images), ways["zero"](images), rtol=0.01)
    assert (ways["zero"](images) < bce(decoder(torch.zeros(3, 20)), images)).all()


def test_a_run_of_ways_has_a_row_for_each_image_and_its_seconds(setting):
    training = plans.tuned(setting).config.iloc[0].training
    test = Ways(training, training.kept[0], COLD_TEST, 3, 2)
    model = AutoEncoder(Generator().manual_seed(0))
    history, kept = test.execute(setting.load(), [{str(training.kept[0]): model.state_dict()}], None)
    assert history.split.tolist() == ["validation"] * 3 + ["test"] * 2 and kept == {}
    assert (history[["own_seconds", "warm_seconds", "zero_seconds"]] > 0).all(axis=None)
    images = torch.cat([setting.load().validation.images[:3], setting.load().test.images[:2]])
    assert np.allclose(history.own, bce(model(images), images).detach())


def test_a_recipe_that_begins_as_an_autoencoder_has_half_its_seconds_there(setting):
    plan = plans.recipes(setting).set_index("method")
    half = plan.config["an AE for half the time, then GFE"].training
    speed = dict(plans.AE_SPEEDS)[64]
    assert half.switch == plans.images_in(plan.budget.iloc[0] / 2, speed, 64) < half.kept[0]
    assert set(plan.index) == set(plans.RECIPES) and len(set(plan.config)) == len(plan)
    assert plan.config["AE"] in set(plans.tuned(setting).config), "the run is shared"


def test_recipes_are_compared_with_the_autoencoder_of_the_same_seed(setting):
    rows = [
        (name, "optimum", "t", 10.0, seed, 640, 9.9, loss, loss * (1 + seed))
        for name, loss in zip(plans.RECIPES, (0.1, *[0.09] * (len(plans.RECIPES) - 2), 0.08), strict=True)
        for seed in (0, 1)
    ]
    columns = ["method", "encoding", "tuning", "budget", "seed", "images", "seconds", "validation", "loss"]
    recipes = pd.DataFrame(rows, columns=columns)
    shown = beyond_tuned.table_recipes(setting, recipes).shown
    assert shown["below the AE's decoder (about 10 s)"].tolist()[:2] == ["-", "10.0% ± 0.0%"]
    assert "about 10 s, 7 rehearsals: 20.0% below" in beyond_tuned.say_recipes(recipes)
