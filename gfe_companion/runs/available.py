"""Trainings on few images for as long as it pays: the best point by validation, and the test loss there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Generator, Tensor

from gfe_companion.methods.learners import Learner, Learning
from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.train import Train
from gfe_core.encoding import Solver
from gfe_core.training import encode_all

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

CHUNK = 50  # iterations between two looks at the clock that decides when an unfinished training is saved
OWN, OPTIMUM = "own", "optimum"


def drawn(dataset: Dataset, available: int, validation_images: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The images of a training with ``available`` images, and those that validate it: (N, P) and (V, P).

    Both are the first of an order that ``generator`` draws of the whole split: the subsets of one seed are nested.
    There are no more images to validate than to learn from. A data set with fewer images gives all that it has.
    """
    pool, held = dataset.train.images, dataset.validation.images
    order, apart = (torch.randperm(len(images), generator=generator) for images in (pool, held))
    pool = pool[order[:available]]
    return pool, held[apart[: min(validation_images, len(pool))]]


@dataclass(frozen=True)
class Available(RunConfig):
    """Train by ``learner`` on ``available`` images, drawn with replacement as often as it pays.

    At each number of images seen in ``measured`` the loss of validation images is measured, by the learner's own
    encoder ("own") and by ``optimum`` from z = 0 ("optimum"). For each of the two the weights of the point with the
    lowest validation loss are kept. Their loss on the first ``test_images`` test images is measured at the very end, so
    that no choice depends on it. The loss of training images, as many as validate, is measured at these points too; at
    every point where it is ``watched``.
    """

    dataset: str
    embedded: bool
    seed: int
    learner: Learner
    available: int
    measured: tuple[int, ...]
    validation_images: int
    test_images: int
    optimum: Solver
    watched: bool = False

    @property
    def name(self) -> str:
        """Which data, which learner, how many images, which seed."""
        return f"available-{self.dataset}-{self.learner.name}-{self.available}-seed{self.seed}"

    @property
    def work(self) -> tuple[str, int]:
        """A training by its learner, of so many images."""
        return f"{type(self).__name__} by {self.learner!r}", max(self.measured)

    @property
    def trained(self) -> Train:
        """A training on the same data; this run rests on none."""
        return Train(self.dataset, self.embedded, self.seed, None, (16,))

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Train, choose, test. One row for each point and encoder; nothing is kept.

        Columns: available . images (seen) . seconds (of training) . encoder . training, validation, test (losses;
        where they were not measured, NaN) . chosen (whether its validation loss is that encoder's lowest). A training
        whose loss is no longer finite ends there, with a row whose column ``failure`` says so.
        """
        generator = Generator().manual_seed(self.seed)
        pool, held = drawn(dataset, self.available, self.validation_images, generator)
        learning = self.learner.begin(pool, generator)
        training, rows, best = learning.training, list[dict](), dict[str, dict]()
        if state := saved.load():
            training.load_state_dict(state["training"])
            rows, best = state["rows"], state["best"]
        few, failure = pool[: len(held)], None
        try:
            for point in self.measured:
                while training.images < point:
                    training.advance(min(point, training.images + CHUNK * training.recipe.batch_size))
                    if saved.due():
                        saved.save({"training": training.state_dict(), "rows": rows, "best": best})
                if rows and rows[-1]["images"] >= point:
                    continue  # measured by an earlier attempt
                for encoder in encoders(learning):
                    row: dict = {"images": point, "seconds": training.seconds, "encoder": encoder, "training": math.nan}
                    row["validation"] = self.loss(learning, encoder, held)
                    if self.watched:
                        row["training"] = self.loss(learning, encoder, few)
                    before = min((r["validation"] for r in rows if r["encoder"] == encoder), default=math.inf)
                    if row["validation"] < before:
                        best[encoder] = training.state_dict()
                    rows.append(row)
        except FloatingPointError as error:  # a finding about the method: figures tell it
            failure = {"images": training.images, "seconds": training.seconds, "failure": str(error)}
        for encoder, state in best.items():
            training.load_state_dict(state)
            row = min((r for r in rows if r["encoder"] == encoder), key=lambda r: r["validation"])
            row["training"] = self.loss(learning, encoder, few)
            row |= {"chosen": True, "test": self.loss(learning, encoder, dataset.test.images[: self.test_images])}
        frame = pd.DataFrame(rows + [failure] * bool(failure), columns=_columns(failure))
        return frame.assign(available=len(pool), chosen=frame.chosen.eq(True)), {}

    def loss(self, learning: Learning, encoder: str, images: Tensor) -> float:
        """The mean loss of ``images`` (B, P) by an ``encoder``."""
        if encoder == OWN:
            assert learning.own is not None
            return float(learning.own(images).double().mean())
        encodings = encode_all(learning.decoder, images, self.optimum)
        return float(torch.cat([encoding.loss for encoding in encodings]).double().mean())


def encoders(learning: Learning) -> tuple[str, ...]:
    """By what its images are encoded."""
    return (OPTIMUM,) if learning.own is None else (OWN, OPTIMUM)


def _columns(failure: dict | None) -> list[str]:
    columns = ["available", "images", "seconds", "encoder", "training", "validation", "test", "chosen"]
    return [*columns, "failure"] if failure else columns
