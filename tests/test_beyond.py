"""What notebook 08 computes from its runs: times to a loss, rises, remedies of one change each, half a warm start."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from gfe_companion.studies.experiments import FAST, FAST_TEST

from gfe_companion.methods.baselines import CoordinatesOnly, StartOnly
from gfe_companion.runs.profiles import PROFILES, Setting
from gfe_companion.studies import beyond
from gfe_companion.studies.inexact import gradient_errors, starting_points
from gfe_core.adjoint import ApproximateGradient
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart

pytestmark = pytest.mark.usefixtures("one_thread")
CURVE = pd.DataFrame({"seconds": [100.0, 1.0, 10.0], "loss": [0.1, 0.3, 0.2]})


def test_the_time_to_a_loss_lies_on_the_drawn_line():
    """Which is straight over the logarithm of the seconds."""
    assert beyond.time_to(CURVE, 0.25) == pytest.approx(10**0.5)
    assert beyond.time_to(CURVE, 0.15) == pytest.approx(10**1.5)
    assert beyond.time_to(CURVE, 0.2) == pytest.approx(10)
    assert beyond.time_to(CURVE, 0.4) == pytest.approx(1)
    assert beyond.time_to(CURVE, 0.05) == math.inf


def test_a_loss_at_a_time_is_its_inverse_and_unknown_outside_the_points():
    seconds = np.array([0.5, 1.0, 3.0, 50.0, 101.0])
    found = beyond.at_time(CURVE, seconds)
    assert np.isnan(found[[0, -1]]).all()
    for at, loss in zip(seconds[1:4], found[1:4], strict=True):
        assert beyond.time_to(CURVE, loss) == pytest.approx(at)


def test_a_rise_is_measured_from_the_best_so_far():
    assert beyond.rise(pd.Series([4.0, 2.0, 2.2, 1.0, 1.05])) == pytest.approx(0.1)
    assert beyond.rise(pd.Series([3.0, 2.0, 1.0])) == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_every_test_rests_on_weights_that_are_kept(profile):
    setting = Setting.of(profile, device="cpu")
    tests = [c for c in beyond.everything(setting, True) if type(c).__name__ == "Evaluate"]
    assert all(test.images in test.training.kept for test in tests)
    curves = beyond.curves(setting, True)
    ends = curves.groupby(["schedule", "method", "seed"]).images.max()
    for schedule in beyond.SCHEDULES:
        assert (ends[schedule, "gfe_fast"] >= ends[schedule, "ae"]).all(), "as many images as the autoencoder"
    for test in curves[curves.schedule == "cosine"].config:
        assert test.training.recipe.until == ends["cosine", "ae", test.training.seed]


def test_every_remedy_is_one_change_and_the_chosen_one_is_among_them():
    remedies = beyond.remedies(Setting.of("smoke", device="cpu"))
    assert remedies["penalty 1e-5"] == {"solver": FAST}
    assert remedies["none"] == {"solver": beyond.FREE}
    assert len({repr(fields) for fields in remedies.values()}) == len(remedies)
    assert beyond.trainers(Setting.of("smoke", device="cpu"))["warm quasi-Newton, 5 trials"] == FAST
    assert beyond.tester(FAST) == FAST_TEST and beyond.tester(None) is None


@pytest.mark.parametrize("kind", [WarmStart, StartOnly, CoordinatesOnly])
def test_half_a_warm_start_is_the_other_half_left_out(kind):
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=6)
    objective = Objective(decoder, y, quadratic)
    z = torch.randn(6, 4, generator=seeded(), dtype=torch.float64)
    whole, encoder = WarmStart().encoder(), kind().encoder()
    for learner in (whole, encoder):
        learner.learn(objective, LevenbergMarquardt().encode(objective, z))
    starts, turned = (
        torch.equal(encoder.start(y), whole.start(y)),
        torch.equal(*(e.state["factor"] for e in (encoder, whole))),
    )
    assert (starts, turned) == {WarmStart: (True, True), StartOnly: (True, False), CoordinatesOnly: (False, True)}[kind]
    if kind is CoordinatesOnly:
        assert not encoder.start(y).any()
    if kind is StartOnly:
        size = h.diagonal().mean()
        assert torch.allclose(
            encoder.state["factor"] @ encoder.state["factor"] * size, torch.eye(4, dtype=torch.float64)
        )


@pytest.fixture
def problem():
    """A decoder of 4 latents and 9 pixels, and images that it cannot quite draw: no gradient vanishes."""
    decoder, generator = mlp((4, 6, 9), seed=4), seeded(4)
    logits = decoder(torch.randn(8, 4, generator=generator, dtype=torch.float64)).detach()
    return decoder, (logits + torch.randn(8, 9, generator=generator, dtype=torch.float64)).sigmoid()


def test_an_exact_encoding_has_the_exact_gradient_and_fewer_trials_a_worse_one(problem):
    decoder, images = problem
    near = LevenbergMarquardt(tolerance=1e-9, max_trials=200)
    encoders = {("exact", 200): near, ("one", 1): LevenbergMarquardt(first=None, max_trials=1)}
    batches = [images[:4], images[4:]]
    errors, noise = gradient_errors(decoder, batches, encoders, near)
    assert errors.groupby("encoder").error.max()["exact"] < 1e-3 < errors.groupby("encoder").error.min()["one"]
    assert (errors.query("encoder == 'one'").gap > 0).all()
    exact = [
        torch.cat([part.flatten() for part in ApproximateGradient()(o, near.encode(o))])
        for o in (Objective(decoder, batch) for batch in batches)
    ]
    half = (exact[0] - exact[1]).norm() / 2
    assert noise == pytest.approx(float(half / exact[0].norm() + half / exact[1].norm()) / 2, rel=1e-3)


def test_starts_are_compared_before_and_after_trials(problem):
    decoder, images = problem
    points = {"zero": torch.zeros(8, 4, dtype=torch.float64), "one": torch.ones(8, 4, dtype=torch.float64)}
    solver = LevenbergMarquardt(first=None, max_trials=3, tolerance=0.0)
    frame = starting_points(decoder, images, points, {3: solver}).set_index(["start", "trials"]).loss
    objective = Objective(decoder, images)
    for name, z in points.items():
        assert frame[name, 0] == pytest.approx(float(objective.value(z).mean()))
        assert frame[name, 3] == pytest.approx(float(solver.encode(objective, z).loss.mean()))
        assert frame[name, 3] < frame[name, 0]
