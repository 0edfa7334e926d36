"""On a GPU everything is computed as on a CPU: encoders, gradients, trainings, stacks and runs, within rounding.

Float64 is held to 1e-9 of the loss, float32 to 1e-3. Draws are always made on the CPU, so that seeds mean the same.
"""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from conftest import mlp, seeded
from tensors import reloaded

from gfe_companion.cli import bench, bench_trainings
from gfe_companion.datasets import Source, load
from gfe_companion.methods import Entrant, entrants
from gfe_companion.methods.baselines import AdamEncoder, LBFGSEncoder, OdeEncoder, StoredLatents
from gfe_companion.runs import store as runs
from gfe_companion.runs import train, unfinished
from gfe_companion.runs.configs import Evaluate, Optimum, Train, TrainStored
from gfe_companion.runs.optimum import optimum
from gfe_companion.runs.profiles import resolve_device
from gfe_companion.runs.race import encoding_race, started
from gfe_companion.runs.stacked import StackedDecoder, StackedObjective, StackedTraining
from gfe_companion.studies.beyond_inexact import gradient_errors
from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective
from gfe_core.training import Recipe, Training, autoencoder_losses, autoencoder_step, encode_all, encoding_step
from gfe_core.warm import WarmStart

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: none is here")

EMBEDDED = Source(None)
WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=4), refresh=2, penalty=1e-4)
SOLVERS = {
    "amd": AMD(tau=300.0, s_max=100.0, tolerance=0.1),
    "amd budget": AMD(s_max=1000.0, tolerance=0.0, grow_accepted=True, max_trials=20),
    "nesterov amd": NesterovAMD(tolerance=0.01, max_trials=20),
    "barzilai-borwein": BarzilaiBorweinAMD(tolerance=0.01, max_trials=20),
    "quasi-newton": QuasiNewtonAMD(tolerance=0.01, max_trials=20),
    "levenberg-marquardt": LevenbergMarquardt(tolerance=1e-4, max_trials=10),
    "levenberg-marquardt alone": LevenbergMarquardt(tolerance=1e-4, max_trials=10, first=None),
    "gauss-newton bfgs": GaussNewtonBFGS(tolerance=1e-3, max_trials=10),
    "fixed grid": FixedGrid(30.0, 10),
    "nesterov": Nesterov(10.0, 10),
    "adam": AdamEncoder(0.1, 10),
    "lbfgs": LBFGSEncoder(1.0, 3),
    "dopri5": OdeEncoder("dopri5", 20.0),
    "rk4": OdeEncoder("rk4", 20.0, slices=10),
}
every = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
precision = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-3)], ids=["float64", "float32"]
)


def problem(dtype=torch.float64, batch=12):
    return mlp((4, 16, 30), seed=2, dtype=dtype), torch.rand(batch, 30, generator=seeded(3), dtype=dtype)


def there(module):
    """A copy of it on the device."""
    return deepcopy(module).to(DEVICE)


def alike(ours, theirs, rtol=1e-9, atol=1e-12):
    """``ours`` lies on the device and equals ``theirs`` of the CPU."""
    assert ours.device.type == DEVICE
    assert theirs.device.type == "cpu"
    torch.testing.assert_close(ours.cpu(), theirs, rtol=rtol, atol=atol)


# --- encoding


@every
@precision
def test_an_encoder_reaches_the_same_loss(solver, dtype, rtol):
    decoder, y = problem(dtype)
    here, far = Objective(decoder, y), Objective(there(decoder), y.to(DEVICE))
    ours, theirs = solver.encode(far), solver.encode(here)
    alike(ours.loss, theirs.loss, rtol)
    alike(far.value(ours.z), theirs.loss, max(rtol, 1e-5))
    assert {column.device.type for column in (ours.z, ours.t, ours.steps, ours.status)} == {DEVICE}
    alike(solver.encode(far, theirs.z).loss, solver.encode(here, theirs.z).loss, rtol)  # z0 may lie on the CPU


@pytest.mark.parametrize("name", ["amd", "fixed grid", "nesterov", "quasi-newton"])
def test_a_recorded_path_is_the_same(name):
    decoder, y = problem()
    ours = SOLVERS[name].encode(Objective(there(decoder), y.to(DEVICE)), record=True).path
    theirs = SOLVERS[name].encode(Objective(decoder, y), record=True).path
    for column in ("t", "z", "loss"):
        alike(getattr(ours, column), getattr(theirs, column), 1e-7, 1e-9)


def test_derivatives_are_the_same():
    decoder, y = problem()
    here, far = Objective(decoder, y), Objective(there(decoder), y.to(DEVICE))
    z, vector = torch.randn(2, 12, 4, generator=seeded(4), dtype=torch.float64)
    at, along = z.to(DEVICE), vector.to(DEVICE)
    for ours, theirs in zip(far.gauss_newton(at), here.gauss_newton(z), strict=True):
        alike(ours, theirs)
    for (in_z, in_theta), (expected_z, expected_theta) in (
        (far.all_gradients(at), here.all_gradients(z)),
        (far.vector_jacobian(at, along), here.vector_jacobian(z, vector)),
    ):
        alike(in_z, expected_z)
        for ours, theirs in zip(in_theta, expected_theta, strict=True):
            alike(ours, theirs)
    assert far.evaluations == here.evaluations


@pytest.mark.parametrize("name", ["amd", "fixed grid", "nesterov"])
def test_the_adjoint_is_the_same(name):
    decoder, y = problem()

    def gradient(objective):
        return AdjointGradient()(objective, SOLVERS[name].encode(objective, record=True))

    for ours, theirs in zip(
        gradient(Objective(there(decoder), y.to(DEVICE))), gradient(Objective(decoder, y)), strict=True
    ):
        alike(ours, theirs, 1e-6, 1e-9)


@pytest.mark.parametrize("name", ["amd budget", "nesterov amd", "quasi-newton", "levenberg-marquardt alone"])
def test_a_large_batch_is_encoded_as_its_parts(name):
    """4096 images of the real size at once, as `bench` times them."""
    decoder, y = Decoder(generator=seeded()), torch.rand(4096, 784, generator=seeded(1)).round()
    far = there(decoder)
    whole = SOLVERS[name].encode(Objective(far, y.to(DEVICE)))
    alike(whole.loss[-32:], SOLVERS[name].encode(Objective(decoder, y[-32:])).loss, 1e-3)
    parts = torch.cat([part.loss for part in encode_all(far, y[:600].to(DEVICE), SOLVERS[name], batch_size=256)])
    torch.testing.assert_close(parts, whole.loss[:600], rtol=1e-3, atol=0.0)


# --- training

SMALL = Recipe(batch_size=4, learning_rate=5e-3)
POOL = torch.rand(40, 30, generator=seeded(6), dtype=torch.float64)
TRAINERS = {
    "amd": SOLVERS["amd"],
    "quasi-newton": SOLVERS["quasi-newton"],
    "warm": WARM,
    "warm levenberg-marquardt": replace(WARM, solver=LevenbergMarquardt(tolerance=0.0, max_trials=2, first=None)),
}
trainers = pytest.mark.parametrize("solver", TRAINERS.values(), ids=TRAINERS)


def drawn(seed, dtype=torch.float64):
    generator = seeded(seed)
    return Decoder(4, (16,), 30, generator).to(dtype), generator


def training(solver, device, seed=0, dtype=torch.float64, pool=POOL):
    decoder, generator = drawn(seed, dtype)
    encoder = solver.encoder() if isinstance(solver, WarmStart) else solver
    step = encoding_step(decoder.to(device), encoder, ApproximateGradient())
    return Training(decoder, step, pool.to(device, dtype), generator, SMALL), encoder


@trainers
@precision
def test_a_training_is_the_same(solver, dtype, rtol):
    (ours, _), (theirs, _) = training(solver, DEVICE, dtype=dtype), training(solver, "cpu", dtype=dtype)
    assert ours.advance(20) == pytest.approx(theirs.advance(20), rel=rtol)
    assert ours.seconds > 0
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        alike(a, b, 100 * rtol, rtol)


@trainers
def test_saved_and_continued_is_uninterrupted(solver):
    (whole, _), (first, knows), (second, learns) = (training(solver, DEVICE, seed) for seed in (0, 0, 5))
    whole.advance(12)
    expected = whole.advance(24)
    first.advance(12)
    second.load_state_dict(reloaded(first.state_dict()))
    if isinstance(solver, WarmStart):
        learns.load_state_dict(reloaded(knows.state_dict()))
    assert second.advance(24) == pytest.approx(expected, rel=1e-9)


def test_an_autoencoder_is_trained_alike():
    pool = torch.rand(40, 784, generator=seeded(6))
    trained = []
    for device in (DEVICE, "cpu"):
        generator = seeded()
        model = AutoEncoder(generator).to(device)
        trained.append(Training(model, autoencoder_step(model), pool.to(device), generator, SMALL))
    ours, theirs = trained
    assert ours.advance(20) == pytest.approx(theirs.advance(20), rel=1e-3)
    found = autoencoder_losses(ours.model, pool.to(DEVICE))[1]
    alike(found, autoencoder_losses(theirs.model, pool)[1], 1e-3)


def test_an_auto_decoder_is_trained_alike():
    trained, stores = [], []
    for device in (DEVICE, "cpu"):
        decoder, generator = drawn(0)
        images = POOL.to(device)
        stored = StoredLatents(images, 4, 0.1, 1e-4, generator)
        stored.table.double()
        stored.optimizer = torch.optim.SparseAdam(stored.table.parameters(), 0.1)
        decoder.to(device)
        pool = torch.arange(len(images), device=device)
        step = lambda index, decoder=decoder, stored=stored: stored.step(decoder, index)  # noqa: E731
        trained.append(Training(decoder, step, pool, generator, SMALL))
        stores.append(stored)
    ours, theirs = trained
    assert ours.advance(20) == pytest.approx(theirs.advance(20), rel=1e-8)
    alike(stores[0].table.weight.detach(), stores[1].table.weight.detach(), 1e-4, 1e-6)  # Adam magnifies rounding
    stores[0].load_state_dict(reloaded(stores[0].state_dict()))
    assert ours.advance(40) == pytest.approx(theirs.advance(40), rel=1e-8)


# --- stacks


def stack(device, seeds=(0, 1, 2), dtype=torch.float64, solver=WARM):
    decoders, generators = zip(*(drawn(seed, dtype) for seed in seeds), strict=True)
    decoders = [decoder.to(device) for decoder in decoders]
    return StackedTraining(decoders, generators, solver, POOL.to(device, dtype), SMALL)


@trainers
@precision
def test_a_stacked_training_is_the_same(solver, dtype, rtol):
    ours, theirs = stack(DEVICE, dtype=dtype, solver=solver), stack("cpu", dtype=dtype, solver=solver)
    alike(ours.advance(20), theirs.advance(20), rtol)
    alone, _ = training(solver, DEVICE, 1, dtype)
    alone.advance(20)
    for own, state in zip(alone.model.parameters(), ours.model.state_dicts()[1].values(), strict=True):
        torch.testing.assert_close(own.detach(), state, rtol=100 * rtol, atol=rtol)


def test_a_stack_is_saved_and_continued():
    whole, first, second = stack(DEVICE), stack(DEVICE), stack(DEVICE, (7, 8, 9))
    whole.advance(12)
    expected = whole.advance(24)
    first.advance(12)
    second.load_state_dict(reloaded(first.state_dict()))
    torch.testing.assert_close(second.advance(24), expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("name", ["amd", "nesterov amd", "quasi-newton", "levenberg-marquardt", "fixed grid"])
def test_a_stack_encodes_alike_though_images_finish_at_different_times(name):
    decoders = [mlp((4, 16, 30), seed=seed) for seed in range(3)]
    y = torch.rand(36, 30, generator=seeded(3), dtype=torch.float64)
    far = StackedObjective(StackedDecoder([there(decoder) for decoder in decoders]), y.to(DEVICE))
    ours = SOLVERS[name].encode(far)
    theirs = [SOLVERS[name].encode(Objective(*each)) for each in zip(decoders, y.chunk(3), strict=True)]
    alike(ours.loss, torch.cat([each.loss for each in theirs]))
    part = torch.tensor([0, 1, 2, 14], device=DEVICE)
    for found, wanted in zip(far.select(part).gauss_newton(ours.z[part]), far.gauss_newton(ours.z), strict=True):
        torch.testing.assert_close(found, wanted[part], rtol=1e-9, atol=1e-12)


# --- runs, and what is computed from them


@pytest.fixture(scope="module")
def digits():
    return load("mnist", EMBEDDED)


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    return tmp_path


def config(kind=Train, solver=SOLVERS["amd budget"], device=DEVICE, images=64):
    return kind("mnist", True, 0, solver, (32, images), (32, images), 20, device=device)


@pytest.mark.parametrize(
    ("kind", "solver"),
    [(Train, None), (Train, SOLVERS["amd budget"]), (Train, WARM), (TrainStored, SOLVERS["quasi-newton"])],
    ids=["ae", "amd", "warm", "auto-decoder"],
)
def test_a_run_is_the_same_on_either_device(home, kind, solver):
    tested = []
    for device in (DEVICE, "cpu"):
        made = runs.run(config(kind, solver, device), EMBEDDED)
        assert made.provenance["config"]["device"] == device
        assert made.provenance["hardware"] == runs.hardware(device)
        assert {t.device.type for state in made.weights.values() for t in state.values()} == {"cpu"}
        evaluation = Evaluate(made.config, 64, solver, 30)
        tested.append((made.history, runs.run(evaluation, EMBEDDED).history, evaluation))
    (ours, our_test, evaluation), (theirs, their_test, _) = tested
    for column in ("training_loss", "validation_loss"):
        assert list(ours[column]) == pytest.approx(list(theirs[column]), rel=1e-3)
    assert our_test.loss.mean() == pytest.approx(their_test.loss.mean(), rel=1e-3)
    best = runs.run(Optimum(evaluation, 3), EMBEDDED).history
    assert (best.loss <= our_test.loss[:3] * (1 + 1e-5)).all()


def test_an_interrupted_run_goes_on_on_the_device(home, monkeypatch):
    whole = runs.run(config(solver=WARM, images=160), EMBEDDED)
    monkeypatch.setenv("GFE_HOME", str(home / "other"))
    monkeypatch.setattr(unfinished, "SAVE_EVERY_S", -1)
    monkeypatch.setattr(train, "CHUNK", 2)
    real, calls = train.Training.advance, []

    def dies(self, *arguments):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(self.images)
        return real(self, *arguments)

    monkeypatch.setattr(train.Training, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        runs.run(config(solver=WARM, images=160), EMBEDDED)
    begun = []
    monkeypatch.setattr(train.Training, "advance", lambda self, *rest: begun.append(self.images) or real(self, *rest))
    resumed = runs.run(config(solver=WARM, images=160), EMBEDDED)
    assert begun[0] == 96
    assert list(resumed.history.validation_loss) == pytest.approx(list(whole.history.validation_loss), rel=1e-4)


def test_the_yardstick_and_the_gradients_errors_are_the_same(digits):
    decoder, y = Decoder(4, (16,), 784, seeded()), digits.train.images[:8]
    theirs, z = optimum(decoder, y, {"own": torch.zeros(8, 4)})
    ours, at = optimum(there(decoder), y.to(DEVICE), {"own": torch.zeros(8, 4, device=DEVICE)})
    assert list(ours.loss) == pytest.approx(list(theirs.loss), rel=1e-3)
    assert at.device.type == DEVICE
    assert z.shape == at.shape
    encoders = {("quasi-newton", 5): QuasiNewtonAMD(tolerance=0.0, max_trials=5)}
    found, noise = gradient_errors(there(decoder), list(y.to(DEVICE).split(4)), encoders, SOLVERS["quasi-newton"])
    expected, same = gradient_errors(decoder, list(y.split(4)), encoders, SOLVERS["quasi-newton"])
    assert noise == pytest.approx(same, rel=1e-2)
    assert list(found.passes) == list(expected.passes)


def test_bench_works_on_the_device(digits):
    decoder, y = there(Decoder(generator=seeded())), digits.train.images[:20].to(DEVICE)
    best = torch.tensor(optimum(decoder, y, {})[0].loss.to_numpy(), device=DEVICE)
    encoder = WARM.encoder()
    for batch in y.split(10):
        objective = Objective(decoder, batch)
        encoder.learn(objective, encoder.encode(objective))
    warm = [entrant for entrant in entrants() if entrant.warm][:1]
    racers = [*started(warm, encoder.knowledge()), Entrant("Adam", ((AdamEncoder(0.3, 20),),))]
    race = encoding_race(decoder, y, best, (10, 20), racers, repeats=1, limit_s=0.5)
    assert set(race.images) == {10, 20}
    assert len(bench.small_batches(decoder, y[:16], best[:16], racers, repeats=1, size=8)) == 2
    trained = bench_trainings.training_race(digits, (32,), DEVICE, {"AE": None, "warm": WARM})
    assert (trained[["test_loss", "optimum", "seconds"]] > 0).all(axis=None)


def test_the_device_is_found_and_what_is_drawn_on_the_cpu_is_what_is_moved():
    assert resolve_device("auto") == DEVICE
    far = Decoder(generator=seeded()).to(DEVICE)
    for ours, theirs in zip(far.parameters(), Decoder(generator=seeded()).parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs)
