"""Parts of `bench`: trainings by each encoder timed on one thread, and several seeds trained as one stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Generator

from gfe_companion.datasets import Dataset
from gfe_companion.methods import FAST, METHODS
from gfe_companion.runs.configs import Train
from gfe_companion.runs.encode import encode, knowledge_of, restored
from gfe_companion.runs.stacked import StackedTraining
from gfe_companion.studies import beyond_plans
from gfe_companion.studies.beyond_plans import patient
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.models import Decoder
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart

TESTED = 1000  # test images of the training races
FAR = (METHODS["ae"].solver, FAST)  # those that are trained to the last number of images


def trainers() -> dict[str, Solver | None]:
    """Who is trained by: the methods of Table 1, and the encoders that notebook 08 compares."""
    printed: dict[str, Solver | None] = {
        method.look.short: method.solver for method in METHODS.values() if method.table1
    }
    others = {name: learner.solver for name, learner in beyond_plans.trainers().items()}
    return printed | {name: solver for name, solver in others.items() if solver not in printed.values()}


def training_race(
    dataset: Dataset, images: Iterable[int], device: str, solvers: Mapping[str, Solver | None]
) -> pd.DataFrame:
    """Train by each of ``solvers``, an autoencoder where it is None, on one thread, to the numbers of ``images``.

    All but :data:`FAR` stop at the first of these. Columns: solver, images, seconds (of the training), iteration_ms,
    test_loss (the training's own encoder, with more trials for a warm start; of the first :data:`TESTED` test images),
    optimum (the same decoder under :class:`LevenbergMarquardt` from these latents).
    """
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    test = dataset.test.images[:TESTED].to(device)
    points = sorted(images)
    try:
        for name, solver in solvers.items():
            config = Train(dataset.name, not dataset.md5, 0, solver, (points[-1],), device=device)
            training, encoder = config.begin(dataset)
            model = training.model
            for point in points if solver in FAR else points[:1]:
                training.advance(point)
                known = knowledge_of(encoder)
                tester = restored(patient(solver), known) if isinstance(solver, WarmStart) else encoder
                found = encode(model, test, tester)
                objective = Objective(getattr(model, "decoder", model), test)
                best = LevenbergMarquardt(first=None).encode(objective, found["z"]).loss
                rows.append({
                    "solver": name, "images": point, "seconds": training.seconds,
                    "iteration_ms": 1000 * training.seconds / (point / config.recipe.batch_size),
                    "test_loss": float(found["loss"].double().mean()), "optimum": float(best.double().mean()),
                })  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows)


def seeds_at_once(
    dataset: Dataset, device: str, counts: Iterable[int] = (1, 2, 4, 8), batches: int = 20
) -> pd.DataFrame:
    """Milliseconds of a training iteration for each seed, where several are trained as one stack and one after another.

    By the accelerated encoder, on one thread, after ``batches`` batches that do not count. Columns: seeds, stacked_ms,
    separate_ms.
    """
    pool, threads, rows = dataset.train.images.to(device), torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for count in counts:
            generators = [Generator().manual_seed(seed) for seed in range(count)]
            decoders = [Decoder(generator=generator).to(device) for generator in generators]
            stack = StackedTraining(decoders, generators, FAST, pool)
            alone, _ = Train(dataset.name, not dataset.md5, 0, FAST, (16,), device=device).begin(dataset)
            row: dict[str, float] = {"seeds": count}
            for name, training, shared in (("stacked_ms", stack, count), ("separate_ms", alone, 1)):
                training.advance(16 * batches)
                before = training.seconds
                training.advance(32 * batches)
                row[name] = 1000 * (training.seconds - before) / batches / shared
            rows.append(row)
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows)
