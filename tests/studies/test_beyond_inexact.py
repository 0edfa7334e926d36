"""What an inexact encoding costs the decoder's gradient, and what a start saves it."""

import pytest
import torch
from conftest import mlp, seeded

from gfe_companion.studies.beyond_inexact import gradient_errors, starting_points
from gfe_core.adjoint import ApproximateGradient
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective


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
