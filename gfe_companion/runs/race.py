"""The race of encoders: seconds and decoder passes to within 1 % and 0.1 % of the optimum (beyond the paper)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.optimum import Optimum
from gfe_core.encoding import Solver
from gfe_core.objective import Objective
from gfe_core.training import encode_all
from gfe_core.warm import WarmStart

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset
    from gfe_companion.methods import Entrant

TARGETS = (0.01, 0.001)  # how far above the optimum the mean loss may be
NEAR = 1e-5  # near enough, relative, to end a ladder


@dataclass(frozen=True)
class Race(RunConfig):
    """How near the optimum each encoder gets with how many decoder passes an image, ``most`` at most.

    The images and their best latents are those of ``optimum``. An encoder that comes within ``near`` tries no more.
    """

    optimum: Optimum
    entrants: tuple[Entrant, ...]
    most: int
    near: float = NEAR

    @property
    def name(self) -> str:
        """On which decoder."""
        return self.optimum.name.replace("optimum-", "race-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """A race of so many encoders to so many passes, of so many images."""
        return f"{type(self).__name__} to {self.most}", self.optimum.count * len(self.entrants)

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The optimum, and the training whose weights it used."""
        return (self.optimum, self.optimum.trained)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Race: the frame of :func:`approach`. Warm entrants start with what the training had learnt."""
        (found, trained), at = needed, self.optimum.evaluation.images
        decoder = model_with(trained[str(at)], self.optimum.trained.solver)
        images = dataset.test.images[: self.optimum.count]
        best = Objective(decoder, images).value(found["z"])
        racers = started(self.entrants, trained[f"{at} start"])
        return approach(decoder, images, best, racers, self.most, self.near), {}


def started(entrants: Iterable[Entrant], knowledge: dict[str, Tensor]) -> list[Entrant]:
    """``entrants``, of which the warm ones start where a training pointed to that had learnt ``knowledge``."""

    def warm(solver: Solver) -> Solver:
        return WarmStart(solver).encoder(knowledge)

    return [
        replace(entrant, ladders=tuple(tuple(map(warm, ladder)) for ladder in entrant.ladders))
        if entrant.warm
        else entrant
        for entrant in entrants
    ]


def cheapest(
    entrant: Entrant, decoder: nn.Module, images: Tensor, optimum: float, targets: Iterable[float], limit_s: float
) -> dict[float, tuple[Solver, int] | None]:
    """For each target, the solver of ``entrant`` that gets there with the fewest decoder passes, and these passes.

    A ladder is climbed until the nearest target is met, until it costs more than what has been found, or until one
    encoding took more than ``limit_s`` seconds, which then does not count; None where no solver got there.
    """
    found: dict[float, tuple[Solver, int] | None] = dict.fromkeys(targets)
    for ladder in entrant.ladders:
        for solver in ladder:
            objective, started = Objective(decoder, images), time.perf_counter()
            encoding = solver.encode(objective)
            loss, passes = float(encoding.loss.double().mean()), encoding.evaluations
            over = time.perf_counter() - started > limit_s
            met = [target for target in found if loss <= (1 + target) * optimum and not over]
            for target in met:
                known = found[target]
                if known is None or passes < known[1]:
                    found[target] = (solver, passes)
            dearer = all(best and passes >= best[1] for best in found.values())
            if len(met) == len(found) or dearer or over:
                break
    return found


def approach(
    decoder: nn.Module, images: Tensor, best: Tensor, racers: Iterable[Entrant], most: int, near: float = NEAR
) -> pd.DataFrame:
    """How near the optimum ``best`` (N,) each entrant comes: every rung of its ladders once, on ``images`` (N, P).

    A ladder ends after the first rung that takes more than ``most`` passes an image or comes within ``near``. Columns:
    encoder, ladder, solver, passes (an image), seconds, gap (relative, of the mean losses).
    """
    rows = []
    for racer in racers:
        for number, ladder in enumerate(racer.ladders):
            for solver in ladder:
                started = time.perf_counter()
                encoding = solver.encode(Objective(decoder, images))
                seconds, passes = time.perf_counter() - started, encoding.evaluations / len(images)
                gap = float(encoding.loss.double().mean() / best.double().mean()) - 1
                rows.append((racer.name, number, repr(solver), passes, seconds, gap))
                if passes > most or gap < near:
                    break
    return pd.DataFrame(rows, columns=["encoder", "ladder", "solver", "passes", "seconds", "gap"])


def encoding_race(
    decoder: nn.Module, images: Tensor, best: Tensor, counts: Iterable[int], racers: Iterable[Entrant],
    repeats: int = 5, limit_s: float = 20.0, batch_size: int = 2000,
) -> pd.DataFrame:  # fmt: skip
    """Seconds in which each of ``racers`` encodes the first ``counts`` of ``images`` to near the optimum ``best`` (N,).

    The solver for each of :data:`TARGETS` is chosen on the first 256 images, to within nine tenths of it, so that all
    of them together should be within it. Up to 256 images are one batch, timed ``repeats`` times in turn with the
    others'. More are encoded once, ``batch_size`` at a time, until ``limit_s`` seconds and ``repeats`` batches are
    over; the seconds are the median batch's times the number of batches. If they are not within the target, the next
    solver of the ladder takes its turn. Columns: encoder, target, images, solver, encoded (images), passes (an image),
    above (the optimum of these, relative), within (whether that is at most the target), seconds, low, high (of the
    single timings), timings, per_second; the last ten are missing where no solver was found.
    """
    few, least = images[:256], float(best[:256].double().mean())
    rows: list[dict] = []
    within = {0.9 * target: target for target in TARGETS}
    raced = [(racer, cheapest(racer, decoder, few, least, within, limit_s)) for racer in racers]
    for count in counts:
        whole = count > 256
        timed: list[tuple[dict, tuple[Solver, ...], list[float]]] = []
        for racer, chosen in raced:
            for near, found in chosen.items():
                rows.append({"encoder": racer.name, "target": within[near], "images": count})
                if found is not None:
                    ladder = next(ladder for ladder in racer.ladders if found[0] in ladder)
                    place = ladder.index(found[0])
                    timed.append((rows[-1], ladder[place : place + 1 + whole], []))
        for _ in range(1 if whole else repeats):
            for row, solvers, clock in timed:
                for solver in solvers:
                    if whole:
                        clock.clear()
                    batches = _clocked(encode_all(decoder, images[:count], solver, batch_size=batch_size), clock)
                    losses, passes = [], 0
                    for encoding in batches:
                        losses.append(encoding.loss.double())
                        passes += encoding.evaluations
                        if whole and sum(clock) > limit_s and len(clock) >= repeats:
                            break
                    n = sum(map(len, losses))
                    above = float(sum(loss.sum() for loss in losses) / best[:n].double().sum()) - 1
                    row |= {"solver": repr(solver), "encoded": n, "passes": passes / n, "above": above}
                    row["within"] = above <= row["target"]
                    if row["within"]:
                        break
        for row, _, clock in timed:
            seconds = pd.Series(clock) * (-(-count // batch_size) if whole else 1)
            row |= {"seconds": seconds.median(), "low": seconds.min(), "high": seconds.max(), "timings": len(seconds)}
            row["per_second"] = count / row["seconds"]
    columns = ["encoder", "target", "images", "solver", "encoded", "passes", "above", "within"]
    return pd.DataFrame(rows, columns=[*columns, "seconds", "low", "high", "timings", "per_second"])


def _clocked(encodings: Iterable, clock: list[float]) -> Iterable:
    started = time.perf_counter()
    for encoding in encodings:
        if encoding.loss.is_cuda:
            torch.cuda.synchronize()
        clock.append(time.perf_counter() - started)
        yield encoding
        started = time.perf_counter()
