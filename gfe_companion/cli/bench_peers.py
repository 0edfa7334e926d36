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
from gfe_companion.studies.beyond_peers import LIMIT_S, NEAR, PUBLISHED, TARGET
from gfe_core.encoding import Encoding, Solver
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.objective import Objective
from gfe_core.training import encode_all
from gfe_core.warm import WarmEncoder

FEW = 256  # images on which settings are chosen, and as many others that are timed
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
    """A solver that was tried on the few images: its losses (n,) and seconds."""

    solver: Solver
    losses: Tensor
    seconds: float


@dataclass(frozen=True)
class Entered:
    """A racer with the solver that was chosen for it, and where the images on which it was chosen would end.

    ``decoder`` is what it encodes with; a ``quick`` one is timed more than once.
    """

    racer: Racer
    solver: Solver
    decoder: nn.Module
    quick: bool
    end: float


def climbed(ladder: Iterable[Solver], decoder: nn.Module, images: Tensor, limit_s: float) -> list[Rung]:
    """Every rung, timed once, to the first that takes more than ``limit_s`` seconds or hardly lowers the loss."""
    found: list[Rung] = []
    for solver in ladder:
        if not found:
            warm_up(solver, decoder, images)
        seconds, encoding = _timed(solver, decoder, images)
        found.append(Rung(solver, encoding.loss.double(), seconds))
        last = [float(rung.losses.mean()) for rung in found[-2:]]
        if seconds > limit_s or (len(last) == 2 and last[0] - last[1] < SETTLED * last[1]):
            break
    return found


def warm_up(solver: Solver, decoder: nn.Module, images: Tensor) -> None:
    """One call that does not count: with all ``images`` where it compiles for their number, else with a few."""
    within = solver.settings.solver if isinstance(solver, WarmEncoder) else solver
    compiles = isinstance(within, OptimistixEncoder) or isinstance(decoder, products.Padded)
    solver.encode(Objective(decoder, images if compiles else images[:16]))


def chosen(rungs: list[Rung], best: Tensor) -> Rung:
    """The fastest rung within :data:`NEAR` of the ``best`` losses' mean; where none comes so near, of its own last."""
    least, own = float(best.mean()), min(float(rung.losses.mean()) for rung in rungs)
    most = (1 + NEAR) * (least if own <= (1 + NEAR) * least else own)
    return min((rung for rung in rungs if float(rung.losses.mean()) <= most), key=lambda rung: rung.seconds)


def race(
    decoder: nn.Module, apart: Tensor, images: Tensor, everyone: list[Racer], counts: Iterable[int], repeats: int,
    limit_s: float,
) -> pd.DataFrame:  # fmt: skip
    """How fast each of ``everyone`` encodes the first :data:`FEW` of ``images``, and the first of each of ``counts``.

    Settings are chosen on the first :data:`FEW` images of ``apart``, none of which is timed: the fastest within
    :data:`NEAR` of the lowest losses that anyone finds there in the whole sweep. Columns: those of :func:`timed`, and
    apart (how many images settings were chosen on); ``end`` is how far above their best the lowest rung ends there.
    """
    few, onednn = apart[:FEW], products.by_onednn(decoder)
    drawn = [onednn if racer.onednn else decoder for racer in everyone]
    climbs = [[r for ladder in racer.entrant.ladders for r in climbed(ladder, by, few, limit_s)]
              for racer, by in zip(everyone, drawn, strict=True)]  # fmt: skip
    best = torch.stack([rung.losses for rungs in climbs for rung in rungs]).min(dim=0).values
    picked = [chosen(rungs, best) for rungs in climbs]
    pace = {False: math.inf, True: math.inf}  # of the fastest peer, by start
    for racer, rung in zip(everyone, picked, strict=True):
        if not racer.ours:
            pace[racer.entrant.warm] = min(pace[racer.entrant.warm], rung.seconds)
    ends = [min(float(rung.losses.mean()) for rung in rungs) / float(best.mean()) - 1 for rungs in climbs]
    entered = [
        Entered(racer, rung.solver, by, rung.seconds <= SLOW * pace[racer.entrant.warm], end)
        for racer, rung, by, end in zip(everyone, picked, drawn, ends, strict=True)
    ]
    rows = timed(decoder, images[:FEW], entered, repeats)
    for count in [count for count in counts if count > FEW]:
        rows += timed(decoder, images[:count], [each for each in entered if each.quick], 1)
    return pd.DataFrame(rows).assign(apart=len(few))


def timed(decoder: nn.Module, images: Tensor, entered: list[Entered], repeats: int) -> list[dict]:
    """A row for each of ``entered`` on all ``images``, :data:`BATCH` at a time, one after another on each batch.

    The best losses are the lowest of all of these, and of a thorough :class:`LBFGSAMD` from zero. Keys: images,
    encoder, ours, warm, solver, passes (an image), above (the best, of the mean losses, relative), within (whether that
    is at most :data:`TARGET`), basins (the share of images that end more than 1 % above their best), seconds (the
    median batch's times the number of batches), low, high, timings, end. Who is slow is timed once, the others
    ``repeats`` times in turn.
    """
    batches = images.split(BATCH)
    clocks: list[list[float]] = [[] for _ in entered]
    losses: list[list[Tensor]] = [[] for _ in entered]
    passes, bests = [0] * len(entered), []
    for each in entered:
        warm_up(each.solver, each.decoder, batches[0])
    for turn in range(repeats):
        for batch in batches:
            for place, each in enumerate(entered):
                if turn and not each.quick:
                    continue
                seconds, encoding = _timed(each.solver, each.decoder, batch)
                clocks[place].append(seconds)
                if not turn:
                    losses[place].append(encoding.loss.double())
                    passes[place] += encoding.evaluations
            if not turn:
                thorough = encode_all(decoder, batch, LBFGSAMD(tolerance=1e-6), batch_size=BATCH)
                found = [torch.cat([encoding.loss.double() for encoding in thorough]), *(part[-1] for part in losses)]
                bests.append(torch.stack(found).min(dim=0).values)
    best, rows = torch.cat(bests), []
    for each, clock, parts, spent in zip(entered, clocks, losses, passes, strict=True):
        ended, entrant, seconds = torch.cat(parts), each.racer.entrant, pd.Series(clock) * len(batches)
        above = float(ended.mean() / best.mean()) - 1
        rows.append({
            "images": len(images), "encoder": entrant.name, "ours": each.racer.ours, "warm": entrant.warm,
            "solver": repr(each.solver), "passes": spent / len(images), "above": above, "within": above <= TARGET,
            "basins": float((ended > WORSE * best).double().mean()), "seconds": seconds.median(), "low": seconds.min(),
            "high": seconds.max(), "timings": len(clock), "end": each.end,
        })  # fmt: skip
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
        decoder, data = config.restored(kept.weights[str(TRAINED)]), setting.load(config.dataset)
        entrants = started([racer.entrant for racer in everyone], kept.weights[f"{TRAINED} start"])
        ready = [replace(racer, entrant=entrant) for entrant, racer in zip(entrants, everyone, strict=True)]
        more = counts if config == configs[0] else ()
        frame = race(decoder, data.validation.images, data.test.images, ready, more, repeats, limit_s)
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


def _timed(solver: Solver, decoder: nn.Module, images: Tensor) -> tuple[float, Encoding]:
    objective, started_at = Objective(decoder, images), time.perf_counter()
    encoding = solver.encode(objective)
    return time.perf_counter() - started_at, encoding
