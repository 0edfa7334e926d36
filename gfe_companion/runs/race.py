"""The race of encoders: seconds and decoder passes to within 1 % and 0.1 % of the optimum (beyond the paper)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_companion.methods.baselines import AdamEncoder, LBFGSEncoder, OdeEncoder
from gfe_companion.studies.experiments import UNCAPPED
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.objective import Objective
from gfe_core.training import encode_all
from gfe_core.warm import WarmStart

TARGETS = (0.01, 0.001)  # how far above the optimum the mean loss may be
LEARNING_RATES = {"Adam": (0.03, 0.1, 0.3, 1.0), "LBFGS": (0.3, 1.0)}
TAUS = (1e3, 3e3, 1e4, 3e4, 1e5)
LADDER = tuple(round(5 * 1.2**i) for i in range(31))  # 5 to about 1,200 steps
TOLERANCES = (
    0.1, 0.03, 0.01, 5e-3, 3e-3, 2e-3, 1.5e-3, 1e-3, 7e-4, 5e-4, 3e-4, 2e-4, 1.5e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6,
)  # fmt: skip


@dataclass(frozen=True)
class Entrant:
    """One encoder in the race, and what it can be given: solvers from cheap to dear, in one ladder a setting."""

    name: str
    ladders: tuple[tuple[Solver, ...], ...]


def warm_entrants(knowledge: dict[str, Tensor]) -> list[Entrant]:
    """Encoders that start where a training's :class:`WarmEncoder` points to; ``knowledge`` is what that one learnt."""

    def warm(solver: Solver) -> Solver:
        encoder = WarmStart(solver).encoder()
        encoder.state = knowledge
        return encoder

    solvers = {
        "QuasiNewtonAMD": QuasiNewtonAMD(s_0=1.0, patience=1, max_trials=10_000),  # stops at the first flat step
        "GaussNewtonBFGS": GaussNewtonBFGS(patience=2, max_trials=10_000),
        "LevenbergMarquardt": LevenbergMarquardt(first=None, damping=0.01),
    }
    return [
        Entrant(f"warm {name}", (tuple(warm(replace(solver, tolerance=t)) for t in TOLERANCES),))
        for name, solver in solvers.items()
    ]


def entrants(own: Iterable[Entrant] = ()) -> list[Entrant]:
    """All encoders of the race: the project's own, AMD as written and uncapped, Adam, LBFGS, dopri5 and rk4."""

    def by_tolerance(solver: Solver) -> tuple[tuple[Solver, ...], ...]:
        return (tuple(replace(solver, tolerance=tolerance) for tolerance in TOLERANCES),)

    def by_steps(make: Callable[[float, int], Solver], rates: Iterable[float]) -> tuple[tuple[Solver, ...], ...]:
        return tuple(tuple(make(rate, steps) for steps in LADDER) for rate in rates)

    many = 10_000
    return [
        Entrant("LevenbergMarquardt", by_tolerance(LevenbergMarquardt())),
        Entrant("QuasiNewtonAMD", by_tolerance(QuasiNewtonAMD(max_trials=many))),
        Entrant("NesterovAMD", by_tolerance(NesterovAMD(max_trials=many))),
        Entrant("BarzilaiBorweinAMD", by_tolerance(BarzilaiBorweinAMD(max_trials=many))),
        *own,
        Entrant("AMD, literal", by_tolerance(AMD())),
        Entrant("AMD, s_max = 1000", by_tolerance(replace(UNCAPPED, max_trials=None))),
        Entrant("Adam", by_steps(AdamEncoder, LEARNING_RATES["Adam"])),
        Entrant("LBFGS", by_steps(LBFGSEncoder, LEARNING_RATES["LBFGS"])),
        Entrant("dopri5", (tuple(OdeEncoder("dopri5", tau) for tau in TAUS),)),
        Entrant("rk4", tuple(tuple(OdeEncoder("rk4", tau, slices=n) for n in LADDER[7:]) for tau in TAUS)),
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
                if found[target] is None or passes < found[target][1]:
                    found[target] = (solver, passes)
            dearer = all(known and passes >= known[1] for known in found.values())
            if len(met) == len(found) or dearer or over:
                break
    return found


def approach(
    decoder: nn.Module, images: Tensor, best: Tensor, racers: Iterable[Entrant], most: int
) -> pd.DataFrame:  # fmt: skip
    """How near the optimum ``best`` (N,) each entrant comes: every rung of its ladders once, on ``images`` (N, P).

    A ladder ends after the first rung that takes more than ``most`` passes an image or comes within 1e-5. Columns:
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
                if passes > most or gap < 1e-5:
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
    few, least, rows = images[:256], float(best[:256].double().mean()), []
    within = {0.9 * target: target for target in TARGETS}
    racers = [(racer, cheapest(racer, decoder, few, least, within, limit_s)) for racer in racers]
    for count in counts:
        whole, timed = count > 256, []
        for racer, chosen in racers:
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
