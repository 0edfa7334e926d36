"""The parts of a training iteration: they are those of the training itself, and their clocks tell them apart."""

import time
from pathlib import Path

import pytest
import torch
from conftest import seeded

from gfe_companion.datasets import load, locate
from gfe_companion.methods import FAST, UNCAPPED
from gfe_companion.runs import iteration
from gfe_companion.runs.encode import knowledge_of
from gfe_companion.runs.iteration import BY_ONEDNN, PARTS, PRODUCTS, Clocked, Iteration, clocked
from gfe_companion.runs.train import Train
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective


@pytest.fixture(scope="module")
def trained():
    """A data set, a short training, and what it kept."""
    dataset = load("mnist", locate("embedded", "mnist", Path("unused")))
    config = Train("mnist", True, 0, FAST, (), (64,))
    training, encoder = config.begin(dataset)
    training.advance(64)
    return dataset, config, {"64": training.model.state_dict(), "64 start": knowledge_of(encoder)}


def test_the_parts_are_told_and_bounded_by_what_passes(trained):
    dataset, config, kept = trained
    started = time.process_time()
    frame, weights = Iteration(config, 64, 10).execute(dataset, [kept], None)
    passed = 1000 * (time.process_time() - started) / 10
    assert frame.part.tolist()[: len(PARTS)] == list(PARTS) and weights == {}
    assert set(frame[frame.alone].part) <= {PRODUCTS, BY_ONEDNN} and len(frame) > len(PARTS)
    inside = frame[~frame.alone]
    assert (frame.ms > 0).all() and inside.ms.sum() < passed
    assert inside.set_index("part").ms["gradients in z"] > inside.set_index("part").ms["optimiser"]


def test_it_goes_on_as_the_training_would(trained, monkeypatch):
    """Its decoder learns: encoded from zero to the end, images have lower losses after sixty batches."""
    dataset, config, kept = trained
    before = {name: weight.clone() for name, weight in kept["64"].items()}
    models = []
    real = iteration.model_with
    monkeypatch.setattr(iteration, "model_with", lambda *given: models.append(real(*given)) or models[-1])
    Iteration(config, 64, 50).execute(dataset, [kept], None)
    images = dataset.test.images[:50]
    old = Decoder()
    old.load_state_dict(before)
    losses = [LBFGSAMD().encode(Objective(model, images)).loss.mean() for model in (old, *models)]
    assert losses[1] < 0.9 * losses[0], losses


def test_an_objective_with_a_clock_is_the_same_and_its_selections_share_the_clock():
    decoder, images = Decoder(generator=seeded(1)), torch.rand(4, 784, generator=seeded(2))
    objective, z = Clocked(decoder, images), torch.randn(4, 20, generator=seeded(3))
    for found, wanted in zip(objective.value_and_grad(z), Objective(decoder, images).value_and_grad(z), strict=True):
        assert torch.equal(found, wanted)
    before = objective.spent["gradients in z"]
    objective.select(slice(2)).gauss_newton(z[:2])
    assert objective.spent["looking at the curvature"] > 0 and objective.spent["gradients in z"] == before > 0


def test_a_clock_adds_up_what_passes_also_where_the_work_fails():
    spent = iteration.defaultdict(float)
    with pytest.raises(ZeroDivisionError), clocked(spent, "part"):
        sum(range(10**6))
        _ = 1 / 0
    assert spent["part"] > 0.001


def test_only_a_warm_start_has_these_parts(trained):
    dataset, config, kept = trained
    cold = Train("mnist", True, 0, UNCAPPED, (), (64,))
    with pytest.raises(AssertionError, match="warm start"):
        Iteration(cold, 64, 1).execute(dataset, [kept], None)
