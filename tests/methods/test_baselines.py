"""Half a warm start is a warm start with the other half left out."""

import pytest
import torch
from conftest import linear_problem, quadratic, seeded

from gfe_companion.methods.baselines import CoordinatesOnly, StartOnly
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart


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
