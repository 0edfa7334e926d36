"""A stack of decoders gives each of them what it gets alone: values, gradients, encodings, trainings."""

import io
import sys

import pytest
import torch
from conftest import mlp, quadratic, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gfe_companion.runs.stacked import StackedDecoder, StackedObjective, StackedTraining, StackedWarmEncoder
from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.models import Decoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce
from gfe_core.training import CosineRecipe, Recipe, Training, encoding_step
from gfe_core.warm import WarmEncoder, WarmStart
from gfe_core.wrappers import Moved

SIZES, MEMBERS, EACH = (3, 8, 12), 3, 4
DECODERS = [mlp(SIZES, seed=seed) for seed in range(MEMBERS)]
IMAGES = torch.rand(MEMBERS * EACH, SIZES[-1], generator=seeded(7), dtype=torch.float64)
Z = torch.randn(MEMBERS * EACH, SIZES[0], generator=seeded(8), dtype=torch.float64)
ROWS = list(range(MEMBERS * EACH))
SOLVERS = {  # that stop before the minimum, where it is a matter of rounding whether one more step falls
    "amd": AMD(tau=300.0, s_max=100.0, tolerance=0.1),
    "amd budget": AMD(s_max=100.0, tolerance=0.0, grow_accepted=True, max_trials=12),
    "nesterov amd": NesterovAMD(tolerance=0.1, patience=2),
    "barzilai-borwein": BarzilaiBorweinAMD(tolerance=0.1, patience=2),
    "quasi-newton": QuasiNewtonAMD(tolerance=0.1, patience=2),
    "levenberg-marquardt": LevenbergMarquardt(
        tolerance=0.02, patience=1, max_trials=6, first=QuasiNewtonAMD(tolerance=0.1, patience=2, max_trials=4)
    ),
    "levenberg-marquardt alone": LevenbergMarquardt(tolerance=0.02, patience=1, max_trials=6, first=None),
    "fixed grid": FixedGrid(30.0, 8),
    "nesterov": Nesterov(10.0, 8),
}
RAGGED = ("amd", "nesterov amd", "barzilai-borwein", "quasi-newton", "levenberg-marquardt", "levenberg-marquardt alone")

every = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def stacked(loss=bce, decoders=DECODERS, images=IMAGES):
    return StackedObjective(StackedDecoder(decoders), images, loss)


def separate(loss=bce, decoders=DECODERS, images=IMAGES):
    return [Objective(*each, loss) for each in zip(decoders, images.chunk(len(decoders)), strict=True)]


def alike(ours, theirs, rtol=1e-9, atol=1e-12):
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


# --- the decoder


def test_each_member_decodes_by_its_own_parameters():
    stack = StackedDecoder(DECODERS)
    z = Z.unflatten(0, (MEMBERS, EACH))
    alike(stack(z), torch.stack([decoder(own) for decoder, own in zip(DECODERS, z, strict=True)]))
    assert stack.latent_dim == SIZES[0]
    names = zip(stack.parameters(), DECODERS[0].parameters(), strict=True)
    assert all(ours.shape == (MEMBERS, *theirs.shape) and ours.requires_grad for ours, theirs in names)


def test_its_state_dicts_are_those_of_the_decoders_and_copies():
    stack = StackedDecoder(DECODERS)
    for decoder, state in zip(DECODERS, stack.state_dicts(), strict=True):
        expected = decoder.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
        mlp(SIZES).load_state_dict(state)
    before = [tensor.clone() for tensor in state.values()]
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, state.values(), strict=True))
    assert torch.equal(stack.state_dicts()[-1]["0.bias"], DECODERS[-1][0].bias + 1)


def test_the_statistics_of_a_batch_normalisation_are_each_members_own():
    decoders = []
    for seed in range(MEMBERS):
        decoders.append(nn.Sequential(mlp((3, 5), seed=seed), nn.BatchNorm1d(5, dtype=torch.float64)))
        decoders[-1](torch.randn(20, 3, generator=seeded(seed), dtype=torch.float64))
        decoders[-1].eval().latent_dim = 3
    images = IMAGES[:, :5]
    ours = stacked(decoders=decoders, images=images)
    theirs = separate(decoders=decoders, images=images)
    alike(ours.value(Z), torch.cat([each.value(z) for each, z in zip(theirs, Z.chunk(MEMBERS), strict=True)]))
    assert torch.equal(ours.decoder.stack.state_dicts()[1]["1.running_mean"], decoders[1][1].running_mean)
    decoders = [decoder.train() for decoder in decoders]
    with pytest.raises(ValueError, match="decoder.eval"):
        stacked(decoders=decoders, images=images)


# --- the objective


@pytest.mark.parametrize("loss", [bce, quadratic])
def test_values_and_derivatives_are_those_of_the_separate_objectives(loss):
    ours, theirs, parts = stacked(loss), separate(loss), Z.chunk(MEMBERS)
    vector = torch.randn(Z.shape, generator=seeded(3), dtype=torch.float64)

    def joined(columns):
        return [torch.cat(column) for column in zip(*columns, strict=True)]

    alike(ours.value(Z), torch.cat([each.value(z) for each, z in zip(theirs, parts, strict=True)]))
    expected = joined(each.value_and_grad(z) for each, z in zip(theirs, parts, strict=True))
    for found, wanted in zip(ours.value_and_grad(Z), expected, strict=True):
        alike(found, wanted)
    expected = joined(each.gauss_newton(z) for each, z in zip(theirs, parts, strict=True))
    for found, wanted in zip(ours.gauss_newton(Z), expected, strict=True):
        alike(found, wanted)
    expected = [each.all_gradients(z) for each, z in zip(theirs, parts, strict=True)]
    twice = [
        each.vector_jacobian(z, v) for each, z, v in zip(theirs, parts, vector.chunk(MEMBERS), strict=True)
    ]  # fmt: skip
    for found, wanted in ((ours.all_gradients(Z), expected), (ours.vector_jacobian(Z, vector), twice)):
        alike(found[0], torch.cat([in_z for in_z, _ in wanted]))
        for slope, own in zip(found[1], zip(*(in_theta for _, in_theta in wanted), strict=True), strict=True):
            alike(slope, torch.stack(own))
    assert ours.evaluations == sum(each.evaluations for each in theirs) > 0
    assert ours.passes.forward == sum(each.passes.forward for each in theirs)


@given(st.lists(st.sampled_from(ROWS), max_size=15))
def test_any_selection_of_images_is_these_images(rows):
    """Of unequal numbers, in any order, twice, of some members none: each image as in the whole."""
    whole, index = stacked(quadratic), torch.tensor(rows, dtype=torch.int64)
    part = whole.select(index)
    assert isinstance(part, StackedObjective)
    assert len(part) == len(rows)
    before = whole.evaluations
    results = [part.value(Z[index]), *part.value_and_grad(Z[index]), *part.gauss_newton(Z[index])]
    assert whole.evaluations - before == len(rows) * (1 + 2 + 1 + SIZES[0])  # padding costs nothing
    expected = [whole.value(Z), *whole.value_and_grad(Z), *whole.gauss_newton(Z)]
    for found, wanted in zip(results, expected, strict=True):
        alike(found, wanted[index])
    again = part.select(torch.arange(len(rows)) % 2 == 0)
    alike(again.value(Z[index][::2]), whole.value(Z)[index][::2])


def test_gradients_of_a_ragged_selection_are_those_of_its_images():
    """The second member has none: its gradient in theta is zero."""
    index = torch.tensor([0, 2, 3, 9])
    in_z, in_theta = stacked().select(index).all_gradients(Z[index])
    first, third = separate()[0].select(index[:3]), separate()[2].select(torch.tensor([1]))
    alike(in_z, stacked().value_and_grad(Z)[1][index])
    wanted = zip(first.all_gradients(Z[index[:3]])[1], third.all_gradients(Z[9:10])[1], strict=True)
    for slope, (one, three) in zip(in_theta, wanted, strict=True):
        alike(slope, torch.stack([one, torch.zeros_like(one), three]))


def test_an_image_that_went_wrong_hurts_no_other_member():
    index = torch.tensor([0, 1, 2, 4, 8, 9])
    z = Z[index].clone()
    good = stacked().select(index).all_gradients(z)
    z[0] = torch.inf
    bad = stacked().select(index).all_gradients(z)
    assert not bad[0][0].isfinite().any()
    alike(bad[0][1:], good[0][1:])
    for one, other in zip(bad[1], good[1], strict=True):
        alike(one[1:], other[1:])


def test_an_even_selection_is_a_mere_reshape():
    rows = stacked().decoder
    assert rows.even
    assert rows.grouped(Z).data_ptr() == Z.data_ptr()
    even = stacked().select(torch.tensor([0, 3, 4, 6, 8, 9])).decoder
    assert even.even
    assert even.grouped(Z[:6]).data_ptr() == Z.data_ptr()
    assert not stacked().select(torch.tensor([3, 4, 0, 6, 8, 9])).decoder.even
    assert not stacked().select(torch.tensor([0, 4, 8, 9])).decoder.even


# --- encoders


@every
@pytest.mark.parametrize("record", [False, True])
def test_encoding_is_that_of_the_separate_decoders(solver, record):
    objective = stacked()
    ours = solver.encode(objective, Z, record=record)
    theirs = [solver.encode(each, z, record=record) for each, z in zip(separate(), Z.chunk(MEMBERS), strict=True)]
    for name in ("z", "loss", "t", "steps", "status"):
        alike(getattr(ours, name), torch.cat([getattr(each, name) for each in theirs]), rtol=1e-6)
    assert ours.evaluations == sum(each.evaluations for each in theirs) == objective.evaluations
    if not record:
        assert ours.path is None
        return
    for m, each in enumerate(theirs):
        rows, own = len(each.path.t), slice(m * EACH, (m + 1) * EACH)
        for name in ("t", "z", "loss"):
            alike(getattr(ours.path, name)[:rows, own], getattr(each.path, name), rtol=1e-6)


@pytest.mark.parametrize("name", RAGGED)
def test_images_finish_at_different_times(name):
    """Else the test above would say nothing of ragged selections."""
    steps = SOLVERS[name].encode(stacked(), Z).steps.unflatten(0, (MEMBERS, EACH))
    assert len(steps.unique()) > 2
    assert len(steps.amax(dim=1).unique()) > 1


@every
def test_a_member_whose_images_are_all_finished_is_no_hindrance(solver):
    """The second decoder is constant: its images stall where they start, or stay there."""
    decoders = [mlp(SIZES, seed=seed) for seed in range(MEMBERS)]
    nn.init.zeros_(decoders[1][0].weight)
    ours = solver.encode(stacked(decoders=decoders), Z)
    theirs = [solver.encode(each, z) for each, z in zip(separate(decoders=decoders), Z.chunk(MEMBERS), strict=True)]
    assert torch.equal(ours.z[EACH : 2 * EACH], Z[EACH : 2 * EACH])
    alike(ours.z, torch.cat([each.z for each in theirs]), rtol=1e-6)
    assert ours.evaluations == sum(each.evaluations for each in theirs)


@every
def test_one_member_is_a_stack_too(solver):
    ours = solver.encode(stacked(decoders=DECODERS[:1]))
    theirs = solver.encode(Objective(DECODERS[0], IMAGES))
    alike(ours.z, theirs.z, rtol=1e-6)
    assert ours.evaluations == theirs.evaluations


@pytest.mark.parametrize("gradient", [ApproximateGradient(), AdjointGradient()], ids=["approximate", "adjoint"])
@pytest.mark.parametrize("solver", [SOLVERS["amd"], FixedGrid(5.0, 30)], ids=["amd", "fixed grid"])
def test_the_gradient_in_theta_is_each_members_own(gradient, solver):
    def found(objective, z):
        return gradient(objective, solver.encode(objective, z, record=True))

    theirs = [found(each, z) for each, z in zip(separate(), Z.chunk(MEMBERS), strict=True)]
    for slope, own in zip(found(stacked(), Z), zip(*theirs, strict=True), strict=True):
        alike(slope, torch.stack(own), rtol=1e-6)


# --- the warm start


def test_a_moved_objective_with_a_factor_for_each_image_is_the_chain_rule():
    objective, factor = separate()[0], torch.randn(EACH, 3, 3, generator=seeded(), dtype=torch.float64)
    z0, u = Z[:EACH], torch.randn(EACH, 3, generator=seeded(1), dtype=torch.float64).requires_grad_()
    moved = Moved(objective, z0, factor)
    at = z0 + torch.einsum("bij,bj->bi", factor, u)
    loss = objective.loss(objective.decoder(at), objective.images)
    (expected,) = torch.autograd.grad(loss.sum(), u)
    value, gradient = moved.value_and_grad(u)
    for found, wanted in ((value, loss.detach()), (moved.value(u).detach(), loss.detach()), (gradient, expected)):
        alike(found, wanted)
    _, same, curvature = moved.gauss_newton(u)
    alike(same, expected)
    alike(curvature, factor.mT @ objective.gauss_newton(at)[2] @ factor)
    part = torch.tensor([3, 1])
    alike(moved.select(part).value(u[part]).detach(), loss[part].detach())


SOON = QuasiNewtonAMD(s_0=1.0, tolerance=0.05, patience=2, max_trials=6)
WARM = WarmStart(SOON, refresh=3, probes=2, penalty=1e-3)


class Halfway(WarmEncoder):
    """One that starts and learns in a way of its own."""

    def start(self, images):
        return super().start(images) / 2

    def factor(self, curvature):
        return torch.eye(len(curvature)).to(curvature) * super().factor(curvature).norm()


class WarmHalfway(WarmStart):
    learner = Halfway


@pytest.mark.parametrize("warm", [WARM, WarmHalfway(**vars(WARM))], ids=["own", "derived"])
def test_warm_encoders_learn_and_encode_as_separate_ones(warm):
    ours, theirs = StackedWarmEncoder(warm, MEMBERS), [warm.encoder() for _ in range(MEMBERS)]
    for batch in range(7):
        images = torch.rand(MEMBERS * EACH, SIZES[-1], generator=seeded(batch), dtype=torch.float64)
        objective, objectives = stacked(images=images), separate(images=images)
        encoding = ours.encode(objective, record=True)
        encodings = [own.encode(each, record=True) for own, each in zip(theirs, objectives, strict=True)]
        for name in ("z", "loss", "steps", "status"):
            alike(getattr(encoding, name), torch.cat([getattr(each, name) for each in encodings]), rtol=1e-6)
        alike(objective.value(encoding.z), encoding.loss)
        alike(encoding.path.z[-1], encoding.z)
        for row in (0, -1):
            alike(encoding.path.z[row], torch.cat([each.path.z[row] for each in encodings]), rtol=1e-6)
            alike(encoding.path.loss[row], torch.cat([each.path.loss[row] for each in encodings]), rtol=1e-6)
        ours.learn(objective, encoding)
        for own, each, found in zip(theirs, objectives, encodings, strict=True):
            own.learn(each, found)
        assert objective.evaluations - len(images) == sum(each.evaluations for each in objectives)
        for mine, own in zip(ours.encoders, theirs, strict=True):
            assert mine.batches == own.batches == batch + 1
            for name, tensor in own.state.items():
                alike(mine.state[name], tensor, rtol=1e-6, atol=1e-9)
    index = torch.tensor([8, 0, 1, 2, 9])  # a ragged batch starts at the right places too
    part, whole = ours.encode(objective.select(index), record=True), ours.encode(objective, record=True)
    alike(part.path.z[0], whole.path.z[0][index])
    alike(part.path.z[0][1:2], theirs[0].start(images[:1]))
    alike(part.z, whole.z[index], rtol=1e-6)
    assert torch.equal(ours.encode(objective, Z, record=True).path.z[0], Z)


# --- training

POOL = torch.rand(60, 12, generator=seeded(5), dtype=torch.float64)
TRAINERS = {
    "amd": AMD(tau=300.0, s_max=100.0, tolerance=0.1, max_trials=20),
    "quasi-newton": QuasiNewtonAMD(tolerance=0.02, max_trials=10),
    "warm": WARM,
}
trainers = pytest.mark.parametrize("solver", TRAINERS.values(), ids=TRAINERS)


def begun(seed):
    generator = seeded(seed)
    return Decoder(3, (8,), 12, generator=generator).double(), generator


def together(solver, seeds=(0, 1, 2), recipe=Recipe(batch_size=4, learning_rate=5e-3)):  # noqa: B008
    return StackedTraining(*zip(*map(begun, seeds), strict=True), solver, POOL, recipe)


def alone(solver, seed, recipe=Recipe(batch_size=4, learning_rate=5e-3)):  # noqa: B008
    decoder, generator = begun(seed)
    encoder = solver.encoder() if isinstance(solver, WarmStart) else solver
    return Training(decoder, encoding_step(decoder, encoder, ApproximateGradient()), POOL, generator, recipe)


@trainers
def test_several_seeds_at_once_are_trained_as_one_by_one(solver):
    seeds, told = (0, 5, 2), []
    ours = together(solver, seeds)
    theirs = [alone(solver, seed) for seed in seeds]
    for images in (16, 48):
        means = ours.advance(images, told.append)
        alike(means, torch.tensor([each.advance(images) for each in theirs], dtype=torch.float64), rtol=1e-6)
    assert ours.images == 48
    assert told == [4] * 12
    assert ours.seconds > 0
    for each, state in zip(theirs, ours.model.state_dicts(), strict=True):
        for name, tensor in each.model.state_dict().items():
            alike(state[name], tensor, rtol=1e-5, atol=1e-8)
    assert not torch.allclose(state["0.weight"], begun(2)[0].state_dict()["0.weight"])
    if solver is WARM:
        assert len(ours.step.solver.encoders) == 3


def test_a_recipe_holds_for_all_members():
    recipe = CosineRecipe(batch_size=4, learning_rate=5e-2, until=20)
    ours, theirs = together(TRAINERS["amd"], recipe=recipe), alone(TRAINERS["amd"], 1, recipe)
    ours.advance(40)
    theirs.advance(40)
    alike(ours.model.state_dicts()[1]["0.weight"], theirs.model.state_dict()["0.weight"], rtol=1e-5, atol=1e-8)


@trainers
def test_saved_and_continued_is_uninterrupted(solver):
    whole, first, second = together(solver), together(solver), together(solver, (7, 8, 9))
    whole.advance(20)
    mean = whole.advance(40)
    first.advance(20)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert (second.images, second.seconds) == (20, first.seconds)
    assert torch.equal(second.advance(40), mean)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole.batches.draw()[0], second.batches.draw()[0])


def test_one_seed_is_a_training():
    ours, theirs = together(WARM, (4,)), alone(WARM, 4)
    alike(ours.advance(24), torch.tensor([theirs.advance(24)], dtype=torch.float64), rtol=1e-6)


def test_no_images_more_is_no_training():
    training = together(TRAINERS["amd"])
    training.advance(8)
    assert training.advance(8).isnan().all()
    assert training.images == 8


# --- what is refused


def test_decoders_that_cannot_be_stacked_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="no decoder to stack; pass one or more"):
        StackedDecoder([])
    others = (mlp((3, 9, 12)), mlp((3, 12)), mlp(SIZES, between=nn.Tanh), mlp(SIZES, dtype=torch.float32))
    for other in others:
        with pytest.raises(ValueError, match="decoder 2 was not built like decoder 0; stack only decoders of the same"):
            StackedDecoder([*DECODERS[:2], other])


def test_images_and_generators_are_needed_for_each_member():
    with pytest.raises(ValueError, match="11 images for 3 decoders; pass as many for each"):
        stacked(images=IMAGES[:11])
    with pytest.raises(ValueError, match="image 2 of the batch.*divide by 255"):
        stacked(images=torch.full_like(IMAGES, 0.5).index_fill(0, torch.tensor([2]), 255.0))
    with pytest.raises(ValueError, match="1 generators for 3 decoders; pass one for each"):
        StackedTraining(DECODERS, [seeded()], WARM, POOL)
    with pytest.raises(ValueError, match=r"z0 has shape \(4, 3\); it needs \(12, 3\)"):
        SOLVERS["amd"].encode(stacked(), Z[:4])


# --- what is learnt, by all members or by none


def test_interrupted_at_any_line_all_members_have_learnt_the_batch_or_none():
    images = torch.rand(MEMBERS * EACH, SIZES[-1], generator=seeded(1), dtype=torch.float64)

    def taught(count):
        encoder = StackedWarmEncoder(WARM, MEMBERS)
        for _ in range(count):
            objective = stacked(images=images)
            encoder.learn(objective, encoder.encode(objective))
        return encoder

    encoder, objective = taught(3), stacked(images=images)
    encoding = encoder.encode(objective)
    before, after = encoder.state_dict(), taught(4).state_dict()

    def counts():
        return [each.batches for each in encoder.encoders]

    lines = 0
    while interrupted(lambda: encoder.learn(objective, encoding), lines):
        assert counts() == [3] * MEMBERS or counts() == [4] * MEMBERS
        encoder.load_state_dict(before)
        lines += 1
    assert lines > 50
    assert counts() == [4] * MEMBERS
    for one, other in zip(encoder.state_dict()["encoders"], after["encoders"], strict=True):
        assert all(torch.equal(tensor, other["state"][name]) for name, tensor in one["state"].items())


def interrupted(work, after_lines):
    """Whether Ctrl-C stopped ``work``, pressed when so many lines of both packages were executed."""
    left = [after_lines]

    def trace(frame, event, argument):
        if "gfe_co" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_an_empty_batch_is_not_learnt():
    encoder = StackedWarmEncoder(WARM, MEMBERS)
    objective = stacked(images=IMAGES[:0])
    encoder.learn(objective, encoder.encode(objective, Z[:0]))
    assert [each.batches for each in encoder.encoders] == [0] * MEMBERS


def test_a_stacked_training_of_another_solver_is_refused():
    first, second = together(WARM), together(TRAINERS["amd"])
    first.advance(4)
    with pytest.raises(ValueError, match=r"the saved training's solver is StackedWarmEncoder\(.*this one's is AMD"):
        second.load_state_dict(first.state_dict())


def test_a_stack_has_as_many_images_each_time():
    assert len(stacked().renewed(IMAGES)) == len(IMAGES)
    with pytest.raises(ValueError, match="3 images after 12; give a stack as many each time"):
        stacked().renewed(IMAGES[:3])
