"""The race of encoders: baselines that minimise, a yardstick that is one, and rows that say what was timed."""

import time
from pathlib import Path

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded

from gfe_companion.cli import bench_trainings
from gfe_companion.cli.bench import median_seconds, small_batches
from gfe_companion.cli.bench_arguments import parse_bench
from gfe_companion.cli.bench_trainings import training_race
from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.datasets import load, locate
from gfe_companion.methods import FAST, METHODS, Entrant, entrants
from gfe_companion.methods.baselines import AdamEncoder, LBFGSEncoder, OdeEncoder
from gfe_companion.runs import race
from gfe_companion.runs.optimum import optimum
from gfe_companion.runs.race import cheapest, encoding_race
from gfe_companion.studies import beyond_plans
from gfe_core.amd import AMD
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective

BASELINES = {
    "Adam": AdamEncoder(0.1, 2000),
    "LBFGS": LBFGSEncoder(1.0, 40),
    "dopri5": OdeEncoder("dopri5", tau=200.0, tolerance=1e-9),
    "rk4": OdeEncoder("rk4", tau=200.0, slices=2000),
}


@pytest.fixture
def problem():
    """A decoder of 4 latents and 9 pixels whose latents stay finite, images that it can draw, and their best losses."""
    generator = seeded(4)
    decoder = mlp((4, 6, 9), seed=4)
    images = decoder(torch.randn(8, 4, generator=generator, dtype=torch.float64)).sigmoid().detach()
    found, _ = optimum(decoder, images, {})
    return decoder, images, torch.tensor(found.loss.to_numpy())


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_finds_the_minimum_of_a_quadratic(name):
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=3)
    objective = Objective(decoder, y, quadratic)
    encoding = BASELINES[name].encode(objective)
    best = objective.value(torch.linalg.solve(h, a.T @ y.T).T)
    assert torch.allclose(encoding.loss, best, rtol=1e-4, atol=1e-6)
    assert torch.allclose(encoding.loss, objective.value(encoding.z))
    assert 0 < encoding.evaluations < objective.evaluations


def test_adam_takes_the_steps_it_is_given():
    decoder, _, _, y = linear_problem(rows=9, columns=4, batch=3)
    assert AdamEncoder(0.1, 7).encode(Objective(decoder, y, quadratic)).evaluations == 3 * (2 * 7 + 1)


def test_the_optimum_is_the_lowest_of_all_ways_and_a_minimum(problem):
    decoder, images, best = problem
    worse = {"far": torch.full((8, 4), 30.0, dtype=torch.float64)}
    frame, z = optimum(decoder, images, worse)
    assert list(frame.columns) == ["bfgs", "nesterov", "far", "loss", "agree"]
    assert (frame.loss <= frame[["bfgs", "nesterov", "far"]].min(axis=1)).all()
    assert (torch.tensor(frame.loss.to_numpy()) <= best * (1 + 1e-6)).all()
    assert torch.allclose(Objective(decoder, images).value(z.double()), torch.tensor(frame.loss.to_numpy()), rtol=1e-5)
    spread = frame[["bfgs", "nesterov", "far"]].max(axis=1) / frame.loss - 1
    assert ((spread <= 1e-3) == frame.agree).all()


def test_the_cheapest_that_gets_there_is_chosen(problem):
    decoder, images, best = problem
    ladder = tuple(LevenbergMarquardt(tolerance=0.0, first=None, max_trials=n) for n in (1, 2, 4, 8, 16, 32))
    chosen = cheapest(Entrant("LM", (ladder,)), decoder, images, float(best.mean()), (0.05, 0.001), 60.0)
    loose, tight = chosen[0.05], chosen[0.001]
    assert loose[1] <= tight[1]
    for target, (solver, passes) in chosen.items():
        encoding = solver.encode(Objective(decoder, images))
        assert encoding.loss.mean() <= (1 + target) * best.mean()
        assert encoding.evaluations == passes
    never = cheapest(Entrant("AMD", ((AMD(max_trials=1),),)), decoder, images, float(best.mean()), (0.001,), 60.0)
    assert never == {0.001: None}


def test_the_race_has_a_row_for_each_entrant_and_target(problem):
    decoder, images, best = problem
    racers = [
        Entrant("LM", ((LevenbergMarquardt(),),)),
        Entrant("one step", ((AMD(max_trials=1),),)),
    ]
    raced = encoding_race(decoder, images, best, [8], racers, repeats=3)
    assert raced[["encoder", "target"]].apply(tuple, axis=1).tolist() == [
        (name, target) for name in ("LM", "one step") for target in (0.01, 0.001)
    ]
    reached = raced[raced.encoder == "LM"]
    assert (reached.timings == 3).all() and (reached.low <= reached.seconds).all() and (reached.above < 0.001).all()
    assert raced[raced.encoder == "one step"].solver.isna().all()
    assert (reached.encoded == 8).all() and reached.within.all()


def test_the_time_of_a_small_batch_is_told_in_gradients(problem):
    decoder, images, best = problem
    racers = [Entrant("LM", ((LevenbergMarquardt(tolerance=1e-7),),)), Entrant("one step", ((AMD(max_trials=1),),))]
    frame = small_batches(decoder, images[:6], best[:6], racers, repeats=3, size=2)
    assert frame.encoder.tolist() == ["LM", "one step"] * 2 and frame.batch.tolist() == [1, 1, 2, 2]
    reached = frame[frame.encoder == "LM"]
    assert (reached.gap <= 1e-3).all() and (reached.gradients > 5).all()
    assert frame[frame.encoder == "one step"].gradients.isna().all()


def test_a_small_batch_does_not_choose_its_own_setting(problem):
    """The first batch is drawn from z = 0, where the encoder that does nothing is at once within any distance."""
    decoder, images, best = problem
    easy = decoder(torch.zeros(4, 4, dtype=torch.float64)).sigmoid().detach()
    least = Objective(decoder, easy).value(torch.zeros(4, 4, dtype=torch.float64))
    ladder = (LevenbergMarquardt(first=None, damping=1e6, max_trials=1), LevenbergMarquardt(tolerance=1e-7))
    both, lowest = torch.cat([easy, images[:4]]), torch.cat([least, best[:4]])
    row = small_batches(decoder, both, lowest, [Entrant("LM", (ladder,))], repeats=1, size=4).iloc[0]
    assert row.solver == repr(ladder[0]) and row.gap > 1e-3


def test_of_many_images_as_many_batches_are_timed_as_fit_into_the_limit(problem, monkeypatch):
    monkeypatch.setattr(race, "cheapest", lambda *_: {0.9 * t: (LevenbergMarquardt(), 1) for t in race.TARGETS})
    decoder, images, best = problem
    many, best = images.repeat(38, 1), best.repeat(38)
    racers = [Entrant("LM", ((LevenbergMarquardt(),),))]
    for limit, batches in ((60.0, 7), (0.0, 3)):
        row = encoding_race(decoder, many, best, [304], racers, 3, limit, batch_size=48).iloc[0]
        assert row.timings == batches and row.encoded == min(304, 48 * batches)
        assert row.low <= row.seconds <= row.high and row.per_second == 304 / row.seconds


def test_a_solver_that_was_enough_for_few_images_only_gives_way_to_the_next(problem):
    """The first 256 images are easy: they are already at their optimum."""
    decoder, images, best = problem
    easy = decoder(torch.zeros(256, 4, dtype=torch.float64)).sigmoid().detach()
    least = Objective(decoder, easy).value(torch.zeros(256, 4, dtype=torch.float64))
    many, best = torch.cat([easy, images.repeat(8, 1)]), torch.cat([least, best.repeat(8)])
    ladder = (LevenbergMarquardt(first=None, damping=1e6, max_trials=1), LevenbergMarquardt())
    raced = encoding_race(decoder, many, best, [len(many)], [Entrant("LM", (ladder,))], 3, 60.0)
    assert raced.solver.tolist() == [repr(ladder[1])] * 2 and raced.within.all()
    (alone,) = encoding_race(decoder, many, best, [len(many)], [Entrant("LM", (ladder[:1],))], 3, 60.0).within[:1]
    assert not alone


def test_a_ladder_is_left_when_it_costs_more_than_what_is_known(problem):
    decoder, images, best = problem
    tried = []

    class Spy(LevenbergMarquardt):
        def encode(self, objective, z0=None, record=False):
            tried.append(self.max_trials)
            return super().encode(objective, z0, record)

    good = (LevenbergMarquardt(),)
    poor = tuple(Spy(first=None, max_trials=1, tolerance=0.0) for _ in range(50))
    cheapest(Entrant("LM", (good, poor)), decoder, images, float(best.mean()), (0.0,), 60.0)
    cheap = len(tried)
    dear = tuple(Spy(tolerance=0.0, max_trials=400, damping=1e6) for _ in range(50))
    cheapest(Entrant("LM", (good, dear)), decoder, images, float(best.mean()) * 1.001, (0.0,), 60.0)
    assert cheap == 50 and len(tried) == 51


def test_trainings_are_timed_to_the_same_images_and_tested_on_the_same_decoder(monkeypatch):
    monkeypatch.setattr(bench_trainings, "TESTED", 40)
    dataset = load("mnist", locate("embedded", "mnist", Path("unused")))
    solvers = {"AE": None, "warm": FAST, "AMD": AMD(max_trials=3)}
    raced = training_race(dataset, (48, 32), "cpu", solvers)
    assert raced[["solver", "images"]].apply(tuple, axis=1).tolist() == [
        ("AE", 32), ("AE", 48), ("warm", 32), ("warm", 48), ("AMD", 32),
    ]  # fmt: skip
    assert (raced.optimum <= raced.test_loss * (1 + 1e-6)).all() and (raced.seconds > 0).all()


def test_every_method_of_table_1_and_every_encoder_of_notebook_08_is_trained_by_once():
    solvers = list(bench_trainings.trainers().values())
    assert len(solvers) == len({repr(solver) for solver in solvers}), "each once"
    assert {method.solver for method in METHODS.values() if method.table1} <= set(solvers)
    assert {learner.solver for learner in beyond_plans.trainers().values()} <= set(solvers)
    assert set(bench_trainings.FAR) <= set(solvers)


def test_seeds_are_timed_together_and_alone():
    dataset = load("mnist", locate("embedded", "mnist", Path("unused")))
    frame = bench_trainings.seeds_at_once(dataset, "cpu", (1, 2), batches=1)
    assert frame.columns.tolist() == ["seeds", "stacked_ms", "separate_ms"]
    assert frame.seeds.tolist() == [1, 2] and (frame > 0).all(axis=None)


def test_the_median_leaves_the_first_call_out():
    calls = []
    assert median_seconds(lambda: calls.append(1) or time.sleep(0.05 if len(calls) == 1 else 0.001), "cpu", 3) < 0.04
    assert len(calls) == 4


@pytest.mark.parametrize("wrong", (["--train", "100"], ["--images", "0"], ["--only", "cooking"], ["--threads", "x"]))
def test_a_wrong_argument_is_told_in_one_sentence(wrong):
    with pytest.raises(Stop) as stop:
        parse_bench(wrong)
    assert stop.value.code == Exit.USAGE


def test_every_solver_of_the_race_can_be_built():
    names = [entrant.name for entrant in entrants()]
    assert len(set(names)) == len(names)
    assert all(ladder for entrant in entrants() for ladder in entrant.ladders)
