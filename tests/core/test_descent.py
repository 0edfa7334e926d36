"""The loop of all adaptive encoders: AMD's bits, a rule of one's own in a few lines, how images end and leave."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import Problem, amds, identity, linear_problem, problems, quadratic, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from gfe_core.amd import AMD
from gfe_core.descent import Measured, Rule, State, Trial
from gfe_core.encoding import Encoding, SeparateSteps, Status
from gfe_core.models import Decoder
from gfe_core.objective import Objective

FIELDS = ("z", "loss", "t", "steps", "status")
_beside = importlib.util.spec_from_file_location("reference_amd", Path(__file__).with_name("reference_amd.py"))
reference = importlib.util.module_from_spec(_beside)
_beside.loader.exec_module(reference)


# --- AMD's bits


def same_bits(one: Encoding, other: Encoding) -> None:
    assert one.evaluations == other.evaluations
    for name in FIELDS:
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.path is None) == (other.path is None)
    if one.path is not None:
        assert one.path.flow == other.path.flow
        for name in ("t", "z", "loss"):
            assert torch.equal(getattr(one.path, name), getattr(other.path, name)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("record", [False, True], ids=["not recorded", "recorded"])
@given(problem=problems(), amd=amds(), trials=st.sampled_from((None, 1, 3, 25)))
def test_amd_is_bitwise_the_plain_statement_of_section_3_4(dtype, record, problem, amd, trials):
    problem, amd = replace(problem, dtype=dtype), replace(amd, max_trials=trials)
    ours = amd.encode(problem.objective(), problem.z0(), record)
    same_bits(ours, reference.encode(amd, problem.objective(), problem.z0(), record))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "amd", [AMD(tau=300.0), AMD(s_max=1000.0, tolerance=1e-3, grow_accepted=True, max_trials=100)], ids=["paper", "far"]
)
def test_it_is_so_on_a_decoder_of_real_size(dtype, amd):
    decoder, images = Decoder(generator=seeded()).to(dtype), torch.rand(8, 784, generator=seeded(1)).to(dtype)
    with torch.no_grad():
        decoder[-1].weight *= 20  # an untrained decoder is flat, and AMD done at once
    ours, theirs = (
        encode(Objective(decoder, images), record=True)
        for encode in (amd.encode, lambda *given, **options: reference.encode(amd, *given, **options))
    )
    assert len(set(ours.steps.tolist())) > 1
    same_bits(ours, theirs)


# --- a rule of one's own is one class


@dataclass(frozen=True)
class SteadySteps(Rule[State]):
    """Gradient steps of one length, until a step is refused."""

    length: float = 0.1
    max_trials: int | None = 200

    def begin(self, objective, z, steps):
        at = Measured.at(objective, z)
        return State(z, at.loss, at.gradient, steps)

    def propose(self, state):
        return Trial(state.z - self.length * state.gradient, self.length * state.gradient.square().sum(dim=1))

    def advance(self, state, trial, at, falls):
        state.accept(falls, z=trial.point, loss=at.loss, gradient=at.gradient)

    def endings(self, state):
        return []

    def stuck(self, state, trial):
        return torch.ones_like(state.loss).bool()


def test_a_new_rule_is_one_class():
    """z_n = (I - s H)^n z_0 + (I - (I - s H)^n) z*, until the loss cannot fall within its rounding."""
    decoder, a, h, y = linear_problem()
    rule, objective = SteadySteps(length=0.7, max_trials=12), Objective(decoder, y, quadratic)
    encoding = rule.encode(objective, record=True)
    best = torch.linalg.solve(h, a.T @ y.T)
    for n, z in enumerate(encoding.path.z):
        power = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.7 * h, n)
        assert torch.allclose(z, (best - power @ best).T, atol=1e-12)
    assert encoding.steps.tolist() == [12] * 3 and encoding.status.tolist() == [Status.BUDGET_SPENT] * 3
    assert encoding.evaluations == objective.evaluations == 2 * 3 * 13
    assert encoding.t.tolist() == [12.0] * 3 and encoding.t.dtype == torch.float64
    assert isinstance(encoding.path.flow, SeparateSteps)
    far = replace(rule, max_trials=None).encode(Objective(decoder, y, quadratic))
    assert far.status.tolist() == [Status.STALLED] * 3
    assert torch.allclose(far.z, best.T, atol=1e-6)


# --- how images end, and leave


def ending(**where: list[bool]) -> Encoding:
    """Two images under a rule that says at once where each kind of ending is."""

    class Ending(SteadySteps):
        def endings(self, state):
            kinds = [(Status[name], torch.tensor(mask)) for name, mask in where.items()]
            return [(kind, mask[-len(state.z) :]) for kind, mask in kinds]

    y = torch.full((2, 1), 0.5, dtype=torch.float64)
    z0 = torch.tensor([[0.5], [1.0]], dtype=torch.float64)  # the first stands at its minimum: its gradient is zero
    return Ending(max_trials=1).encode(Objective(identity(), y, quadratic), z0)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, ["STALLED", "BUDGET_SPENT"]),
        ({"CONVERGED": [True, True], "REACHED_TAU": [True, False]}, ["CONVERGED", "CONVERGED"]),
        ({"REACHED_TAU": [True, False], "CONVERGED": [True, True]}, ["REACHED_TAU", "CONVERGED"]),
        ({"REACHED_TAU": [False, False], "CONVERGED": [True, False]}, ["CONVERGED", "BUDGET_SPENT"]),
    ],
    ids=["a zero gradient stalls", "what comes first wins", "the other way round", "and before what the loop finds"],
)
def test_what_comes_first_wins(where, expected):
    assert [Status(status).name for status in ending(**where).status.tolist()] == expected


def test_stalled_comes_before_a_spent_budget():
    """Its only trial is refused within rounding, in the round that ends the budget."""
    y, z0 = torch.full((1, 1), 0.5, dtype=torch.float64), torch.full((1, 1), 0.6, dtype=torch.float64)
    encoding = SteadySteps(length=3.0, max_trials=1).encode(Objective(identity(), y, quadratic), z0)
    assert encoding.status.tolist() == [Status.STALLED] and encoding.steps.tolist() == [0]


@given(problems(), amds())
@settings(max_examples=20)
def test_amd_ends_at_tau_before_flat_before_stalled_before_spent(problem, amd):
    encoding = replace(amd, max_trials=1).encode(problem.objective(), problem.z0())
    gradient = problem.objective().value_and_grad(encoding.z)[1].square().sum(dim=1)
    left = (torch.tensor(amd.tau, dtype=problem.dtype) - encoding.t) * gradient
    for t, status, flat in zip(
        encoding.t.tolist(), encoding.status.tolist(), left < 0.99 * amd.tolerance * encoding.loss, strict=True
    ):
        if t == torch.tensor(amd.tau, dtype=problem.dtype):
            assert status == Status.REACHED_TAU
        elif flat:
            assert status == Status.CONVERGED
        else:
            assert status in (Status.CONVERGED, Status.STALLED, Status.BUDGET_SPENT)


@pytest.mark.parametrize("rule", [SteadySteps(max_trials=1), AMD(max_trials=1)], ids=["a rule of one's own", "AMD"])
def test_a_budget_of_one_is_one_trial_accepted_or_not(rule):
    problem = Problem((3, 8, 12), 6, 1.0, 0, torch.float64)
    encoding = rule.encode(problem.objective(), problem.z0(), record=True)
    assert encoding.evaluations == 2 * 2 * 6
    assert (encoding.steps <= 1).all() and encoding.steps.any()
    assert set(encoding.status.tolist()) <= {Status.BUDGET_SPENT, Status.STALLED}
    assert len(encoding.path.t) == 2


def test_finished_images_leave_the_batch_and_cost_no_more():
    """Every round sends exactly the images still under way through the decoder, in the order of the batch."""
    problem, seen = Problem((3, 8, 12), 6, 1.0, 0, torch.float64), []

    class Watching(AMD):
        def measure(self, objective, point, state):
            seen.append((len(objective), objective.images.clone(), {len(column) for column in vars(state).values()}))
            return super().measure(objective, point, state)

    encoding = Watching().encode(problem.objective(), problem.z0())
    sizes = [size for size, _, _ in seen]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2
    assert encoding.evaluations == 2 * (6 + sum(sizes))
    for size, images, columns in seen:
        assert columns == {size} and len(images) == size
        rows = [(problem.images() == image).all(dim=1).nonzero().item() for image in images]
        assert rows == sorted(rows)


def test_a_descent_goes_on_from_the_steps_that_led_there():
    problem = Problem((3, 8, 12), 4, 1.0, 0, torch.float64)
    steps = torch.tensor([3, 0, 7, 1])
    end = SteadySteps(max_trials=2).descend(problem.objective(), problem.z0(), steps, None)
    assert (end.steps - steps <= 2).all() and (end.steps >= steps).all()
    assert steps.tolist() == [3, 0, 7, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_trial_that_is_not_finite_is_refused(bad):
    """In the loss, or in the slope from which the next step would start."""
    for spoilt in ("loss", "slope"):

        class Spoilt(SteadySteps):
            def measure(self, objective, point, state, spoilt=spoilt):
                at = super().measure(objective, point, state)
                getattr(at, spoilt)[0] = bad
                return at

        problem = Problem((3, 8, 12), 2, 1.0, 0, torch.float64)
        encoding = Spoilt(max_trials=1).encode(problem.objective(), problem.z0())
        assert encoding.steps.tolist() == [0, 1]
        assert torch.equal(encoding.z[0], problem.z0()[0])
        assert encoding.loss.isfinite().all()
