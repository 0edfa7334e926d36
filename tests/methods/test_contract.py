"""What every solver of the registry promises, whichever it is: a new entry of METHODS is held to it by being there."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Problem, mlp, seeded
from torch import Tensor

from gfe_companion.methods import METHODS
from gfe_companion.methods.baselines import Library
from gfe_core.descent import Rule
from gfe_core.encoding import Encoding, Solver, Status
from gfe_core.objective import Objective
from gfe_core.warm import WarmEncoder, WarmStart

FIELDS = ("z", "loss", "t", "steps", "status")
DEEP = Problem((3, 8, 12), 5, 0.5, 0, torch.float64)  # gentle, so that coarse grids follow the flow
PROBLEMS = {
    "three layers": DEEP,
    "more latents than pixels": Problem((4, 5, 3), 4, 0.3, 0, torch.float64),
    "float32": Problem((2, 9), 4, 0.2, 0, torch.float32),
    "one of each": Problem((1, 1), 1, 0.2, 1, torch.float32),
}


class Case(NamedTuple):
    """A solver of the registry; one that learns from batches either knows nothing yet or has learnt from a few."""

    registered: Solver
    learnt: bool = False

    def solver(self, problem: Problem) -> Solver:
        return self.registered.encoder(knowledge(problem)) if self.learnt else self.registered

    @property
    def rule(self) -> bool:
        """Whether it is a rule of the loop that never lets the loss rise."""
        return isinstance(getattr(self.registered, "solver", self.registered), Rule)


def cases() -> dict[str, Case]:
    """Every solver and tester, and of every entrant the first rung and one in the middle, each of them once."""
    named: dict[Case, str] = {}
    for name, method in METHODS.items():
        solvers = {part: getattr(method, part) for part in ("solver", "tester")}
        if method.race is not None:
            ladders, warm = method.race.ladders, WarmStart if method.race.warm else lambda solver: solver
            middle = ladders[len(ladders) // 2]
            solvers |= {"race, first": warm(ladders[0][0]), "race, middle": warm(middle[len(middle) // 2])}
        for part, solver in solvers.items():
            if solver is not None:
                named.setdefault(Case(solver), f"{name} {part}")
                if hasattr(solver, "encoder"):
                    named.setdefault(Case(solver, learnt=True), f"{name} {part}, learnt")
    return {name: case for case, name in named.items()}


CASES = cases()
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@cache
def knowledge(problem: Problem) -> dict[str, Tensor]:
    """What a warm start has learnt from three batches of four random images."""
    encoder, generator = WarmStart(refresh=1).encoder(), seeded(7)
    for _ in range(3):
        images = torch.rand(4, problem.sizes[-1], generator=generator, dtype=problem.dtype)
        objective = Objective(problem.decoder(), images)
        encoder.learn(objective, encoder.encode(objective))
    return encoder.knowledge()


@cache
def encoded(case: Case, problem: Problem, record: bool = False) -> Encoding:
    return case.solver(problem).encode(problem.objective(), problem.z0(), record)


def same(one: Encoding, other: Encoding) -> None:
    """Bitwise."""
    assert one.evaluations == other.evaluations
    for name in FIELDS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_registry_is_not_empty_and_its_parts_are_all_here():
    assert sum(case.rule for case in CASES.values()) > 10
    assert {case.registered for case in CASES.values()} >= {m.solver for m in METHODS.values()} - {None}
    assert any(case.learnt for case in CASES.values())


@every
@problems
def test_it_says_where_it_ended(case, problem, capsys):
    encoding = encoded(case, problem)
    batch, latents = problem.batch, problem.sizes[0]
    assert encoding.z.shape == (batch, latents)
    for name in FIELDS[1:]:
        assert getattr(encoding, name).shape == (batch,), name
    for name in ("z", "loss", "t"):
        assert getattr(encoding, name).dtype == problem.dtype, name
        assert getattr(encoding, name).isfinite().all(), name
    assert not encoding.steps.is_floating_point() and not encoding.status.is_floating_point()
    assert set(encoding.status.tolist()) <= set(Status)
    rounding = 1e-5 if problem.dtype == torch.float32 else 1e-12
    assert torch.allclose(encoding.loss, problem.objective().value(encoding.z), rtol=rounding, atol=rounding)
    moved = (encoding.z != problem.z0()).any(dim=1)
    assert ((encoding.steps > 0) == moved).all()
    assert capsys.readouterr() == ("", "")


@every
@problems
def test_recording_changes_nothing_and_the_path_ends_in_the_encoding(case, problem):
    plain, recorded = encoded(case, problem), encoded(case, problem, record=True)
    same(plain, recorded)
    assert plain.path is None
    if isinstance(case.registered, Library):
        return  # which says that it keeps none
    path, rows = recorded.path, int(recorded.steps.max()) + 1
    assert path.t.shape == path.loss.shape == (rows, problem.batch)
    assert path.z.shape == (rows, *recorded.z.shape)
    assert torch.equal(path.z[0], problem.z0())
    rounding = 1e-5 if problem.dtype == torch.float32 else 1e-12
    assert torch.allclose(path.loss[0], problem.objective().value(problem.z0()), rtol=rounding)
    assert (path.t[0] == 0).all() and (path.t.diff(dim=0) >= 0).all()
    for name in ("t", "z", "loss"):
        shown, last = getattr(path, name), getattr(recorded, name)
        assert shown.dtype == problem.dtype
        for image, steps in enumerate(recorded.steps.tolist()):
            assert (shown[steps:, image] == last[image]).all(), name


@every
@problems
def test_a_rule_never_lets_the_loss_rise(case, problem):
    """Where z is penalised, what never rises is the sum; taken apart and put together again, it may by rounding."""
    if not case.rule:
        pytest.skip("no rule of the loop: it makes no such promise")
    recorded, penalty = encoded(case, problem, record=True), getattr(case.registered, "penalty", None)
    path, rounding = recorded.path, 0.0
    falling = path.loss
    if penalty is not None:
        falling = path.loss + penalty / 2 * path.z.square().sum(dim=2)
        rounding = 4 * torch.finfo(problem.dtype).eps
    assert (falling[1:] <= falling[:-1] * (1 + rounding)).all()
    for image, steps in enumerate(recorded.steps.tolist()):
        walked = falling[: steps + 1, image]
        assert (walked[1:] < walked[:-1] * (1 + rounding)).all()


@every
@problems
def test_every_decoder_pass_is_counted(case, problem, monkeypatch):
    """Images through the decoder, either way. Forward mode sends d tangents an image through beside them, unseen."""
    looked, look = [], Objective.gauss_newton

    def watched(self, z):
        looked.append(z.numel())
        return look(self, z)

    monkeypatch.setattr(Objective, "gauss_newton", watched)
    solver, objective = case.solver(problem), problem.objective()
    decoder = objective.decoder
    looked.clear()  # what learning took
    objective.value(problem.z0())
    encoding = solver.encode(objective, problem.z0())
    passed = decoder.forward_images + decoder.backward_images + sum(looked)
    assert objective.evaluations == passed
    assert encoding.evaluations == passed - problem.batch
    assert isinstance(encoding.evaluations, int)


@every
@problems
def test_z0_is_used_and_left_alone(case, problem):
    z0, solver = problem.z0(), case.solver(problem)
    known = {name: value.clone() for name, value in knowledge(problem).items()}
    encoding = solver.encode(problem.objective(), z0)
    same(encoding, encoded(case, problem))
    encoding.z.add_(1)
    assert torch.equal(z0, problem.z0())
    start = solver.start(problem.images()) if case.learnt else torch.zeros_like(z0)
    default = solver.encode(problem.objective())
    same(default, solver.encode(problem.objective(), start))
    if problem is DEEP:  # from elsewhere to the same minimum, bit for bit, is possible on the others
        assert not torch.equal(default.z, encoded(case, problem).z)
    if case.learnt:  # and encoding has taught it nothing
        assert (start != 0).any()
        assert all(torch.equal(value, known[name]) for name, value in solver.state.items())


def shortened(solver: Any, trials: int) -> Any:
    """The same solver with so many trials at most: the rounding of another batch has not grown by then."""
    if isinstance(solver, WarmEncoder):
        return shortened(solver.settings, trials).encoder(solver.knowledge())
    if isinstance(solver, WarmStart):
        return replace(solver, solver=shortened(solver.solver, trials))
    if any(field.name == "max_trials" for field in dataclasses.fields(solver)):
        budget = trials if solver.max_trials is None else min(trials, solver.max_trials)
        return replace(solver, max_trials=budget)
    return solver


def parts_are_alike(case: Case, problem: Problem) -> bool:
    """Whether images end alike one by one, two of them, and all in another order.

    After a few trials they do so in all fields, and at the end, where rounding has grown, in their loss.
    """
    full = case.solver(problem)
    short, alike = shortened(full, 8), True
    ends = [(solver, solver.encode(problem.objective(), problem.z0())) for solver in (short, full)]
    for chosen in ([0], [1], [2], [3], [4], [3, 0], [4, 2, 0, 1, 3]):
        for solver, whole in ends:
            part = solver.encode(problem.objective().select(torch.tensor(chosen)), problem.z0()[chosen])
            for name in FIELDS if solver is short else ("loss",):
                one, other = getattr(part, name).double(), getattr(whole, name)[chosen].double()
                alike &= torch.allclose(one, other, rtol=1e-6 if solver is short else 1e-4, atol=1e-7)
    return alike


@every
def test_an_image_is_encoded_alike_in_any_batch(case):
    if getattr(case.registered, "joint", False):
        pytest.skip("it says that the images of a batch share their steps")
    assert parts_are_alike(case, DEEP)


def test_only_those_that_depend_on_the_batch_are_excused():
    """Near a minimum that all share they may end alike, so that it takes one rung of an entrant that does not."""
    alike: dict[str, list[bool]] = {}
    for name, case in CASES.items():
        if getattr(case.registered, "joint", False):
            alike.setdefault(name.split()[0], []).append(parts_are_alike(case, DEEP))
    assert not [name for name, found in alike.items() if all(found)]


@every
def test_single_precision_ends_near_double(case):
    """The same weights, images and knowledge, rounded."""
    decoder, images, z0 = DEEP.decoder().float(), DEEP.images().float(), DEEP.z0().float()
    known = {name: value.float() for name, value in knowledge(DEEP).items()}
    solver = case.registered.encoder(known) if case.learnt else case.registered
    rounded = solver.encode(Objective(decoder, images), z0)
    assert torch.allclose(rounded.loss.double(), encoded(case, DEEP).loss, rtol=5e-3)


@every
def test_no_images_give_an_empty_encoding(case):
    nothing = Objective(DEEP.decoder(), torch.zeros(0, 12, dtype=torch.float64))
    for record in (False, True):
        encoding = case.solver(DEEP).encode(nothing, record=record)
        assert encoding.z.shape == (0, 3)
        assert all(len(getattr(encoding, name)) == 0 for name in FIELDS)
        assert encoding.evaluations == 0
        assert encoding.path is None or (encoding.path.z.shape[1:] == (0, 3) and encoding.path.t.shape[1:] == (0,))


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_names_the_image(case, bad):
    problem = Problem((2, 4, 5), 3, 1.0, 0, torch.float64)
    solver, images, z0 = case.solver(problem), problem.images(), problem.z0()
    z0[1, 0] = bad
    with pytest.raises(ValueError, match="z0 of image 1 of the batch is not finite"):
        solver.encode(problem.objective(), z0)
    damaged = images.clone()
    damaged[2, 3] = bad
    with pytest.raises(ValueError, match="image 2 of the batch has pixels"):
        solver.encode(Objective(problem.decoder(), damaged))
    z0[1, 0] = 1e308  # finite itself, but not what the decoder makes of it
    with pytest.raises(ValueError, match=r"z\(0\) of image 1 of the batch is not finite"):
        solver.encode(Objective(mlp((2, 5), scale=100.0), images), z0)
    spoilt = mlp((2, 4, 5))
    with torch.no_grad():
        spoilt[2].weight[0, 0] = bad
    with pytest.raises(ValueError, match="of image 0 of the batch is not finite.*weights"):
        solver.encode(Objective(spoilt, images))


@every
def test_it_is_frozen_and_hashable(case):
    solver = case.registered
    copy = replace(solver)
    assert copy == solver and hash(copy) == hash(solver) and copy is not solver
    for field in dataclasses.fields(solver):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(solver, field.name, None)
