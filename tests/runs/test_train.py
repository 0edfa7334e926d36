"""Trainings as runs: what they are interrupted with is all that they need to go on."""

import pandas as pd
import pytest
import torch

from gfe_companion.datasets import Source, load
from gfe_companion.runs import train as trainings
from gfe_companion.runs.train import Train
from gfe_companion.runs.train_stored import TrainStored
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.training import Training
from gfe_core.warm import WarmEncoder, WarmStart

AMD_QUICK = AMD(tau=300.0, s_max=1000.0, grow_accepted=True, max_steps=3)
WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=2), refresh=3)


class Saved:
    """Keeps what is saved, through a file, and interrupts after so many times."""

    def __init__(self, path, interrupt_after=None):
        self.path, self.left = path, interrupt_after

    def load(self):
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def due(self):
        return True

    def save(self, state):
        torch.save(state, self.path)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def config(kind, solver):
    return kind("mnist", True, 0, solver, (48, 160), (160,), 20)


@pytest.mark.parametrize(
    ("kind", "solver"),
    [(Train, None), (Train, AMD_QUICK), (Train, WARM), (TrainStored, AMD_QUICK)],
    ids=["autoencoder", "amd", "warm", "auto-decoder"],
)
def test_interrupted_and_continued_is_uninterrupted(monkeypatch, tmp_path, kind, solver):
    monkeypatch.setattr(trainings, "CHUNK", 2)
    dataset, run = load("mnist", Source(None)), config(kind, solver)
    history, weights = run.execute(dataset, [], Saved(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        run.execute(dataset, [], Saved(tmp_path / "state", interrupt_after=3))
    seen = torch.load(tmp_path / "state", weights_only=True)["training"]["images"]
    assert seen == 80
    again, restored = run.execute(dataset, [], Saved(tmp_path / "state"))
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), again.drop(columns="seconds"))
    assert weights.keys() == restored.keys() == ({"160", "160 start"} if solver is WARM else {"160"})
    for point in weights:
        for name, tensor in weights[point].items():
            assert torch.equal(tensor, restored[point][name]), (point, name)


def test_a_run_begins_with_a_training_and_what_encodes_its_images():
    dataset = load("mnist", Source(None))
    training, solver = config(Train, WARM).begin(dataset)
    assert isinstance(training, Training)
    assert isinstance(solver, WarmEncoder)
    assert solver is training.step.solver
    training.advance(16)
    assert solver.batches == 1
    assert config(Train, None).begin(dataset)[1] is None
    assert config(TrainStored, AMD_QUICK).begin(dataset)[1] is AMD_QUICK
