"""Where the time of a training iteration of the accelerated GFE goes, part by part (beyond the paper)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from gfe_companion.methods.products import available, by_onednn
from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.train import Train
from gfe_core.adjoint import ApproximateGradient
from gfe_core.objective import Objective
from gfe_core.steps import add_to_grad
from gfe_core.warm import WarmStart

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

GRADIENTS, CURVATURE, CHECKS = "gradients in z", "looking at the curvature", "checking the batch"
TRIALS, THETA, START, OPTIMISER = "choosing trials", "gradient in theta", "learning the start", "optimiser"
PARTS = (GRADIENTS, TRIALS, THETA, CURVATURE, START, OPTIMISER, CHECKS)
PRODUCTS, BY_ONEDNN = "the matrix products of these gradients", "the same gradients with products by oneDNN"


class Clocked(Objective):
    """An objective that adds up, in ``spent``, the processor seconds of its gradients and of its curvature."""

    def __init__(self, decoder: nn.Module, images: Tensor) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        super().__init__(decoder, images)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """As any objective's."""
        with clocked(self.spent, GRADIENTS):
            return super().value_and_grad(z)

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As any objective's."""
        with clocked(self.spent, CURVATURE):
            return super().gauss_newton(z)


@dataclass(frozen=True)
class Iteration(RunConfig):
    """``batches`` timed iterations of ``training`` after ``images`` images; a fifth as many go before, untimed.

    The training must be one by a :class:`~gfe_core.warm.WarmStart`, which then goes on with what it had learnt.
    """

    training: Train
    images: int
    batches: int

    @property
    def name(self) -> str:
        """Of which training."""
        return self.training.name.replace("train-", "iteration-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """So many iterations."""
        return f"{type(self).__name__} by {self.training.solver!r}", self.batches

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Go on. A row for each of :data:`PARTS`, and for what was timed alone: part, ms (an iteration), alone."""
        (trained,), training = needed, self.training
        decoder, solver = model_with(trained[str(self.images)], training.solver), training.solver
        assert isinstance(solver, WarmStart), "only a warm start has these parts"
        encoder, recipe = solver.encoder(trained[f"{self.images} start"]), training.recipe
        optimizer, drawn = recipe.optimizer(decoder), Generator().manual_seed(training.seed)
        optimizer.param_groups[0]["lr"] = recipe.rate(self.images)
        pool, gradient, size = dataset.train.images, ApproximateGradient(), recipe.batch_size
        objective = Clocked(decoder, pool[:size])
        spent, uncounted, passes = objective.spent, self.batches // 5, 0
        for number in range(uncounted + self.batches):
            if number == uncounted:
                spent.clear()
                passes = 0
            decoder.zero_grad()
            with clocked(spent, CHECKS):
                objective = objective.renewed(pool[torch.randint(len(pool), (size,), generator=drawn)])  # type: ignore[assignment]
            with clocked(spent, TRIALS):
                encoding = encoder.encode(objective)
            passes += encoding.evaluations
            with clocked(spent, THETA):
                add_to_grad(decoder, gradient(objective, encoding))
            with clocked(spent, START):
                encoder.learn(objective, encoding)
            with clocked(spent, OPTIMISER):
                optimizer.step()
        spent[TRIALS] -= spent[GRADIENTS]
        spent[START] -= spent[CURVATURE]
        rows = [{"part": part, "ms": 1000 * spent[part] / self.batches, "alone": False} for part in PARTS]
        calls = passes / (2 * size * self.batches)
        alone = self._alone(decoder, objective.images, encoding.z)
        rows += [{"part": part, "ms": calls * each, "alone": True} for part, each in alone.items()]
        return pd.DataFrame(rows), {}

    def _alone(self, decoder: nn.Module, images: Tensor, z: Tensor) -> dict[str, float]:
        """Milliseconds of one gradient's matrix products, and of one gradient with products by oneDNN."""
        weights = [parameter.detach() for parameter in decoder.parameters() if parameter.ndim == 2]

        def multiply() -> None:
            row = z
            for weight in weights:
                row = row @ weight.T
            for weight in reversed(weights):
                row = row @ weight

        found = {PRODUCTS: _milliseconds(multiply, self.batches)}
        if available():
            quick = Objective(by_onednn(decoder), images)
            found[BY_ONEDNN] = _milliseconds(lambda: quick.value_and_grad(z), self.batches)
        return found


def _milliseconds(work: Callable[[], object], times: int) -> float:
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return 1000 * (time.process_time() - started) / times


@contextmanager
def clocked(spent: dict[str, float], part: str) -> Iterator[None]:
    """Add the processor seconds that pass to ``part``."""
    started = time.process_time()
    try:
        yield
    finally:
        spent[part] += time.process_time() - started
