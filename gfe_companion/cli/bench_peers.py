"""`bench --only peers`: our encoders beside the strongest of other projects, each at its best of a stated sweep."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import pandas as pd
import psutil
import torch
from torch import Tensor, nn

from gfe_companion.methods import FAST, products
from gfe_companion.methods.against_peers import Racer, racers
from gfe_companion.methods.networks import Network
from gfe_companion.methods.peers import OptimistixEncoder, missing, say_missing
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.race import started
from gfe_companion.runs.store import hardware, run_grid
from gfe_companion.runs.train_tuned import TrainTuned
from gfe_companion.studies.beyond_peers import LIMIT_S, PUBLISHED, TARGET
from gfe_core.encoding import Encoding, Solver
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.objective import Objective
from gfe_core.training import encode_all
from gfe_core.warm import WarmEncoder

FEW = 256  # images on which settings are chosen
BATCH = 2000  # images at a time, where there are more
TRAINED = 48_000  # training images of each decoder
SHAPES = (
    ("mnist", 20, False), ("mnist", 5, False), ("mnist", 64, False), ("mnist", 128, False), ("fashion_mnist", 20, True),
)  # fmt: skip  # the first one encodes many images too
WORSE = 1.01  # times the best loss of an image, above which it is in a worse basin
SETTLED = 1e-5  # a ladder ends where a rung lowers the mean loss by no more than this, relative
SLOW = 4  # times the seconds of the fastest peer from that start, beyond which one timing is enough


@dataclass(frozen=True)
class Rung:
    """A solver that was tried on the few images: its losses (n,), seconds and decoder passes."""

    solver: Solver
    losses: Tensor
    seconds: float
    passes: int


def climbed(ladder: Iterable[Solver], decoder: nn.Module, images: Tensor, limit_s: float) -> list[Rung]:
    """Every rung, timed once, to the first that takes more than ``limit_s`` seconds or hardly lowers the loss."""
    found: list[Rung] = []
    for solver in ladder:
        if not found:
            warm_up(solver, decoder, images)
        seconds, encoding = _timed(solver, decoder, images)
        found.append(Rung(solver, encoding.loss.double(), seconds, encoding.evaluations))
        last = [float(rung.losses.mean()) for rung in found[-2:]]
        if seconds > limit_s or (len(last) == 2 and last[0] - last[1] < SETTLED * last[1]):
            break
    return found


def warm_up(solver: Solver, decoder: nn.Module, images: Tensor) -> None:
    """One call that does not count: with all ``images`` where it compiles for their number, else with a few."""
    within = solver.settings.solver if isinstance(solver, WarmEncoder) else solver
    compiles = isinstance(within, OptimistixEncoder) or isinstance(decoder, products.Padded)
    solver.encode(Objective(decoder, images if compiles else images[:16]))


def chosen(rungs: list[Rung], best: Tensor) -> tuple[Rung, bool]:
    """The fastest rung within :data:`TARGET` of the ``best`` losses' mean, and True; else of its own last one."""
    least, own = float(best.mean()), min(float(rung.losses.mean()) for rung in rungs)
    within = own <= (1 + TARGET) * least
    most = (1 + TARGET) * (least if within else own)
    return min((r for r in rungs if float(r.losses.mean()) <= most), key=lambda rung: rung.seconds), within


def race(
    decoder: nn.Module, images: Tensor, everyone: list[Racer], counts: Iterable[int], repeats: int, limit_s: float
) -> pd.DataFrame:
    """How fast each of ``everyone`` encodes the first :data:`FEW` images, and the first of each of ``counts``.

    The best loss of an image is the lowest that anyone finds in the whole sweep. Columns: images, encoder, ours, warm,
    solver, passes (an image), above (the best, of the mean losses, relative), end (the same at its last rung), basins
    (the share of images that end more than 1 % above their best), within (whether ``above`` is at most :data:`TARGET`),
    seconds (median of ``timings``, in turn with the others'), low, high. Those of more images lack end and basins.
    """
    few = images[:FEW]
    onednn = products.by_onednn(decoder)
    drawn = [onednn if racer.onednn else decoder for racer in everyone]
    climbs = [[r for ladder in racer.entrant.ladders for r in climbed(ladder, by, few, limit_s)]
              for racer, by in zip(everyone, drawn, strict=True)]  # fmt: skip
    best = torch.stack([rung.losses for rungs in climbs for rung in rungs]).min(dim=0).values
    picked = [chosen(rungs, best) for rungs in climbs]
    pace = {False: math.inf, True: math.inf}  # of the fastest peer, by start
    for racer, (rung, _) in zip(everyone, picked, strict=True):
        if not racer.ours:
            pace[racer.entrant.warm] = min(pace[racer.entrant.warm], rung.seconds)
    fast = [rung.seconds <= SLOW * pace[racer.entrant.warm] for racer, (rung, _) in zip(everyone, picked, strict=True)]
    clocks = [[rung.seconds] for rung, _ in picked]
    for turn in range(repeats):
        for clock, (rung, _), by, quick in zip(clocks, picked, drawn, fast, strict=True):
            if quick:
                seconds, _ = _timed(rung.solver, by, few)
                clock[turn:] = [seconds]  # the first is that of the sweep, which goes
    rows = []
    for racer, rungs, (rung, within), clock in zip(everyone, climbs, picked, clocks, strict=True):
        last = min((each.losses for each in rungs), key=torch.mean)
        row = _row(racer, len(few), rung.solver, rung.losses, best) | {"passes": rung.passes / len(few)}
        row |= {"end": float(last.mean() / best.mean()) - 1, "basins": float((last > WORSE * best).double().mean())}
        rows.append(row | {"within": within} | _of(clock))
    for count in [count for count in counts if count > FEW]:
        entered = [
            (racer, rung.solver, by)
            for racer, (rung, _), by, quick in zip(everyone, picked, drawn, fast, strict=True)
            if quick
        ]
        rows += many(decoder, images[:count], entered)
    return pd.DataFrame(rows)


def many(decoder: nn.Module, images: Tensor, quick: list[tuple[Racer, Solver, nn.Module]]) -> list[dict]:
    """Rows for all ``images``, :data:`BATCH` at a time and one encoder after another on each batch.

    The seconds are the median batch's times the number of batches. The best losses are the lowest of all of these, and
    of a thorough :class:`LBFGSAMD` from the same starts.
    """
    batches = images.split(BATCH)
    clocks: list[list[float]] = [[] for _ in quick]
    losses: list[list[Tensor]] = [[] for _ in quick]
    passes, bests = [0] * len(quick), []
    for _, solver, by in quick:
        warm_up(solver, by, batches[0])
    for batch in batches:
        for place, (_, solver, by) in enumerate(quick):
            seconds, encoding = _timed(solver, by, batch)
            clocks[place].append(seconds)
            losses[place].append(encoding.loss.double())
            passes[place] += encoding.evaluations
        thorough = [e.loss.double() for e in encode_all(decoder, batch, LBFGSAMD(tolerance=1e-6), batch_size=BATCH)]
        bests.append(torch.stack([*(found[-1] for found in losses), *thorough]).min(dim=0).values)
    best, rows = torch.cat(bests), []
    for place, (racer, solver, _) in enumerate(quick):
        row = _row(racer, len(images), solver, torch.cat(losses[place]), best)
        row |= {"passes": passes[place] / len(images), "within": row["above"] <= TARGET}
        rows.append(row | {name: value * (len(batches) if name != "timings" else 1) for name, value in
                           _of(clocks[place]).items()})  # fmt: skip
    return rows


def measured(setting: Setting, counts: Iterable[int], repeats: int, limit_s: float = LIMIT_S) -> pd.DataFrame:
    """The race on each of :data:`SHAPES`, with columns dataset, latent_dim and convolutional, and of the machine."""
    if told := say_missing():
        print(told, flush=True)
    busy, threads = psutil.cpu_percent(interval=2), torch.get_num_threads()
    configs = [
        TrainTuned(name, setting.embedded(name), 0, FAST, (), (TRAINED,), network=Network(dim, conv))
        for name, dim, conv in SHAPES
    ]
    frames, everyone, runs = [], racers(), run_grid(configs, setting)
    if hasattr(os, "sched_setaffinity"):  # JAX takes as many threads as it may have cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for config, kept in zip(configs, runs, strict=True):
        decoder, images = config.restored(kept.weights[str(TRAINED)]), setting.load(config.dataset).test.images
        entrants = started([racer.entrant for racer in everyone], kept.weights[f"{TRAINED} start"])
        ready = [replace(racer, entrant=entrant) for entrant, racer in zip(entrants, everyone, strict=True)]
        frame = race(decoder, images, ready, counts if config == configs[0] else (), repeats, limit_s)
        print(f"raced: {config.dataset}, {config.network}", flush=True)
        about = {"dataset": config.dataset} | asdict(config.network)
        frames.append(frame.assign(**about))
    about = {"missing": ", ".join(missing()), "threads": threads, "busy": busy, "trained": TRAINED}
    return pd.concat(frames, ignore_index=True).assign(**about, hardware=hardware())


def tables(chosen: list[str], setting: Setting, counts: list[int], repeats: int) -> dict[str, tuple[str, pd.DataFrame]]:
    """The race as a title and its numbers, by the name of its file; nothing where it is not ``chosen``."""
    if "peers" not in chosen:
        return {}
    return {PUBLISHED.stem: ("Our encoders and their peers", measured(setting, counts, repeats))}


def publish(found: dict[str, tuple[str, pd.DataFrame]]) -> None:
    """Put the numbers where notebook 08 reads them."""
    for name, (_, frame) in found.items():
        PUBLISHED.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(PUBLISHED.with_name(f"{name}.csv"), index=False)


def _row(racer: Racer, count: int, solver: Solver, losses: Tensor, best: Tensor) -> dict:
    entrant = racer.entrant
    return {
        "images": count, "encoder": entrant.name, "ours": racer.ours, "warm": entrant.warm, "solver": repr(solver),
        "above": float(losses.mean() / best.mean()) - 1,
    }  # fmt: skip


def _of(clock: list[float]) -> dict[str, float]:
    seconds = pd.Series(clock)
    return {"seconds": seconds.median(), "low": seconds.min(), "high": seconds.max(), "timings": len(seconds)}


def _timed(solver: Solver, decoder: nn.Module, images: Tensor) -> tuple[float, Encoding]:
    objective, started_at = Objective(decoder, images), time.perf_counter()
    encoding = solver.encode(objective)
    return time.perf_counter() - started_at, encoding
