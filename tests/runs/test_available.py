"""Trainings on few images: which images they have, where they stop, and that no test image has a say in it."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from gfe_companion.datasets import Source, load
from gfe_companion.methods.learners import Autoencoding, Encoding
from gfe_companion.runs import available as runs
from gfe_companion.runs.available import Available, drawn
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.training import Recipe, Training
from gfe_core.warm import WarmStart

FEW = QuasiNewtonAMD(tolerance=0.0, max_trials=3)
WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=2), refresh=3)
LEARNERS = {"ae": Autoencoding(), "gfe": Encoding(WARM, replace(WARM, solver=FEW))}
every_learner = pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))


class Saved:
    """Keeps what is saved, and interrupts after so many times."""

    def __init__(self, interrupt_after=0):
        self.state, self.left = None, interrupt_after

    def load(self):
        return self.state

    def due(self):
        return True

    def save(self, state):
        self.state = state
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def config(learner, **changed):
    made = Available("mnist", True, 0, learner, 40, (80, 160, 320), 15, 10, FEW)
    return replace(made, **changed)


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", Source(None))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows_of(images):
    return [tuple(image.tolist()) for image in images]


def test_subsets_of_a_seed_are_nested_and_other_seeds_draw_others(mnist):
    small, large, other = (drawn(mnist, n, 30, generator(s))[0] for n, s in ((20, 0), (60, 0), (60, 1)))
    assert torch.equal(small, large[:20])
    assert len(set(rows_of(large))) == 60, "drawn without replacement"
    assert not torch.equal(large, other)


def test_images_that_validate_stand_apart_and_are_no_more_than_those_to_learn_from(mnist):
    for available, wanted in ((20, 20), (60, 30)):
        pool, held = drawn(mnist, available, 30, generator())
        assert len(pool) == available and len(held) == wanted
        assert not set(rows_of(held)) & set(rows_of(mnist.train.images[:4000]))
        assert set(rows_of(held)) <= set(rows_of(mnist.validation.images))
    pool, held = drawn(mnist, 10**6, 30, generator())
    assert len(pool) == len(mnist.train.images), "a small data set gives what it has"


@every_learner
def test_the_point_with_the_lowest_validation_loss_is_chosen_and_tested(mnist, learner):
    run = config(learner)
    frame, kept = run.execute(mnist, [], Saved())
    assert not kept and len(frame) == 6 and frame.available.eq(40).all()
    for encoder, part in frame.groupby("encoder"):
        chosen = part[part.chosen]
        assert len(chosen) == 1 and chosen.validation.iloc[0] == part.validation.min()
        assert part.test.notna().tolist() == part.training.notna().tolist() == part.chosen.tolist()
        again = generator()  # the same training up to that point
        pool, held = drawn(mnist, 40, 15, again)
        learning = learner.begin(pool, again)
        learning.training.advance(int(chosen.images.iloc[0]))
        for column, images in (("test", mnist.test.images[:10]), ("training", pool[:15]), ("validation", held)):
            assert chosen[column].iloc[0] == pytest.approx(run.loss(learning, encoder, images), rel=1e-6)


def test_an_earlier_point_is_chosen_where_later_ones_are_worse(mnist, monkeypatch):
    """Validation losses as a training would have them that overfits."""
    said = iter([0.3, 0.4, 0.1, 0.3, 0.2, 0.2])  # own and optimum, point by point
    monkeypatch.setattr(Available, "loss", lambda self, learning, encoder, images: next(said, 9.0))
    frame, _ = config(LEARNERS["ae"]).execute(mnist, [], Saved())
    assert frame[frame.chosen].groupby("encoder").images.first().to_dict() == {"own": 160, "optimum": 320}


@every_learner
def test_no_test_image_has_a_say_in_the_choice(mnist, learner):
    split = SimpleNamespace(images=1 - mnist.test.images, labels=mnist.test.labels)
    other = SimpleNamespace(train=mnist.train, validation=mnist.validation, test=split)
    one, two = (config(learner).execute(data, [], Saved())[0] for data in (mnist, other))
    columns = ["images", "encoder", "training", "validation", "chosen"]
    pd.testing.assert_frame_equal(one[columns], two[columns])
    assert (one.test.dropna() != two.test.dropna()).all()


@every_learner
@pytest.mark.parametrize("after", [1, 4])
def test_interrupted_and_continued_is_uninterrupted(mnist, monkeypatch, learner, after):
    monkeypatch.setattr(runs, "CHUNK", 3)
    whole, _ = config(learner).execute(mnist, [], Saved())
    saved = Saved(interrupt_after=after)
    with pytest.raises(KeyboardInterrupt):
        config(learner).execute(mnist, [], saved)
    again, _ = config(learner).execute(mnist, [], saved)
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), again.drop(columns="seconds"))


def test_what_was_best_before_an_interruption_is_tested_after_it(mnist, monkeypatch):
    """Validation losses as of a training that is best at its first point; test losses that tell the weights."""

    def loss(self, learning, encoder, images):
        weights = next(learning.decoder.parameters()).detach()
        return abs(learning.training.images - 80.0) if len(images) == 15 else float(weights.sum())

    monkeypatch.setattr(runs, "CHUNK", 3)
    monkeypatch.setattr(Available, "loss", loss)
    whole, _ = config(LEARNERS["ae"]).execute(mnist, [], Saved())
    saved = Saved(interrupt_after=3)
    with pytest.raises(KeyboardInterrupt):
        config(LEARNERS["ae"]).execute(mnist, [], saved)
    assert saved.state["training"]["images"] == 128
    again, _ = config(LEARNERS["ae"]).execute(mnist, [], saved)
    assert whole[whole.chosen].images.eq(80).all()
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), again.drop(columns="seconds"))


def test_training_images_are_watched_on_the_way_where_that_is_asked_for(mnist):
    frame, _ = config(LEARNERS["ae"], watched=True).execute(mnist, [], Saved())
    assert frame.training.notna().all()


def test_a_training_that_breaks_off_says_so_and_is_tested_at_its_best(mnist, monkeypatch):
    advance = Training.advance

    def breaks(self, images, *rest):
        if images > 160:
            raise FloatingPointError("the training loss is nan")
        return advance(self, images, *rest)

    monkeypatch.setattr(runs, "CHUNK", 1)
    monkeypatch.setattr(Training, "advance", breaks)
    frame, _ = config(LEARNERS["ae"]).execute(mnist, [], Saved())
    assert frame.failure.dropna().tolist() == ["the training loss is nan"]
    assert frame.images.tolist() == [80, 80, 160, 160, 160]
    assert frame.test.notna().sum() == 2


def test_runs_of_one_seed_begin_with_the_same_weights_whatever_they_learn_from():
    images = torch.rand(8, 784, generator=generator(1))
    ae, gfe = (learner.begin(images, generator()) for learner in LEARNERS.values())
    for one, other in zip(ae.decoder.parameters(), gfe.decoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert Autoencoding(Recipe(weight_decay=0.1)).begin(images, generator()).training.recipe.weight_decay == 0.1


def test_gfe_encodes_other_images_by_its_tester_from_what_it_has_learnt(mnist):
    images = mnist.train.images[:32]
    learning = LEARNERS["gfe"].begin(images, generator())
    cold = learning.own(images)
    learning.training.advance(480)
    encoder = learning.training.step.solver
    expected = replace(WARM, solver=FEW).encoder(encoder.knowledge())
    assert encoder.has_start and learning.own(images).mean() < cold.mean()
    from gfe_core.objective import Objective

    assert torch.allclose(learning.own(images), expected.encode(Objective(learning.decoder, images)).loss)
