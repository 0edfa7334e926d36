"""`python -m gfe_companion bench`: encoders, trainings and their scaling timed side by side in one process."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from gfe_companion.cli import bench_grid, bench_peers
from gfe_companion.cli.bench_trainings import seeds_at_once, trainers, training_race
from gfe_companion.cli.environment import Exit
from gfe_companion.datasets import Dataset, load
from gfe_companion.methods import FAST, FAST_TEST, UNCAPPED, Entrant, entrants
from gfe_companion.methods.baselines import AdamEncoder
from gfe_companion.runs.configs import Evaluate, Optimum, Train
from gfe_companion.runs.profiles import Setting, home
from gfe_companion.runs.race import cheapest, encoding_race, started
from gfe_companion.runs.store import hardware, run
from gfe_companion.studies.results import markdown
from gfe_core.accelerated import NesterovAMD, QuasiNewtonAMD
from gfe_core.encoding import Solver
from gfe_core.levenberg_marquardt import LevenbergMarquardt
from gfe_core.models import Decoder
from gfe_core.objective import Objective

RACED_AT = 48_000  # training images of the decoder that the encoders race on
NEAR = 1e-4  # of the optimum, relative to it, is where encoding a small batch ends
LIMIT_S = 5.0  # that encoding a small batch may take
BATCH_SIZES = (1, 4, 16, 64, 256, 1024, 4096)
LATENT_DIMS = (2, 5, 10, 20, 50, 100)


def scaling(dataset: Dataset, device: str, repeats: int = 5) -> pd.DataFrame:
    """Seconds of a fixed amount of encoding, against the size of the batch and against the latent dimension.

    Columns: encoder, batch_size, latent_dim, seconds (median of ``repeats``), per_second. The decoders are untrained:
    no encoder stops early on them.
    """
    solvers: dict[str, Solver] = {
        "NesterovAMD, 20 trials": NesterovAMD(tolerance=0.0, max_trials=20),
        "QuasiNewtonAMD, 20 trials": QuasiNewtonAMD(tolerance=0.0, max_trials=20),
        "LevenbergMarquardt, 5 trials": LevenbergMarquardt(tolerance=0.0, first=None, max_trials=5),
        "AMD, 20 trials": replace(UNCAPPED, tolerance=0.0, max_trials=20),
        "Adam, 20 steps": AdamEncoder(0.3, 20),
    }
    sizes = [(size, 20) for size in BATCH_SIZES] + [(256, dim) for dim in LATENT_DIMS if dim != 20]
    rows = []
    for size, dim in sizes:
        decoder = Decoder(latent_dim=dim, generator=Generator().manual_seed(0)).to(device)
        images = dataset.train.images[:size].to(device)
        for name, solver in solvers.items():
            seconds = median_seconds(partial(solver.encode, Objective(decoder, images)), device, repeats)
            row = {"encoder": name, "batch_size": size, "latent_dim": dim, "seconds": seconds}
            rows.append(row | {"per_second": size / seconds})
    return pd.DataFrame(rows)


def small_batches(
    decoder: nn.Module, images: Tensor, best: Tensor, racers: Iterable[Entrant], repeats: int = 5, size: int = 16
) -> pd.DataFrame:  # fmt: skip
    """What it costs each of ``racers`` to encode a batch of ``size`` to near the optimum.

    Its setting is the one with the fewest passes to within :data:`NEAR` on the batch before, so that no batch chooses
    its own. ``best`` (N,) has the losses at the optimum. An encoder that needs more than :data:`LIMIT_S` seconds is
    left out of a batch. One row for each batch of ``images`` (N, P) but the first, and racer: batch, encoder, solver,
    passes (an image), gap, seconds (median of ``repeats``), and ``gradients``: the seconds in those of one
    ``value_and_grad`` of the batch.
    """
    device, rows = images.device.type, []
    batches = list(zip(images.split(size), best.split(size), strict=True))
    for number, ((before, its_best), (batch, lowest)) in enumerate(pairwise(batches), start=1):
        objective, least = Objective(decoder, batch), float(lowest.double().mean())
        unit = median_seconds(partial(objective.value_and_grad, objective.start()), device, 10 * repeats)
        for racer in racers:
            row = {"batch": number, "encoder": racer.name}
            found = cheapest(racer, decoder, before, float(its_best.double().mean()), (NEAR,), LIMIT_S)[NEAR]
            if found is not None:
                solver, encoding = found[0], found[0].encode(objective)
                row |= {"solver": repr(solver), "passes": encoding.evaluations / len(batch)}
                row["gap"] = float(encoding.loss.double().mean()) / least - 1
                seconds = median_seconds(partial(solver.encode, objective), device, repeats)
                row |= {"seconds": seconds, "gradients": seconds / unit}
            rows.append(row)
    return pd.DataFrame(rows, columns=["batch", "encoder", "solver", "passes", "gap", "seconds", "gradients"])


def median_seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """The median wall time of ``work``, after one call that does not count."""
    clock = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        clock.append(time.perf_counter() - started)
    return float(pd.Series(clock[1:]).median())


def raced_decoder(setting: Setting, dataset: Dataset) -> tuple[Train, nn.Module, dict[str, Tensor]]:
    """A cached training, the decoder that encoders race on, and what the training's warm start had learnt."""
    config = Train(
        "mnist", setting.embedded(), 0, FAST, (RACED_AT,), (RACED_AT,), validation_images=100, device=setting.device
    )
    weights = run(config, setting.source()).weights
    decoder = Decoder()
    decoder.load_state_dict(weights[str(RACED_AT)])
    knowledge = {name: tensor.to(setting.device) for name, tensor in weights[f"{RACED_AT} start"].items()}
    return config, decoder.to(setting.device), knowledge


def main(options: argparse.Namespace) -> int:
    """Run what the checked flags ask for, print it as tables and write it as JSON."""
    setting = Setting.of("paper", options.data, device=options.device)
    dataset = load("mnist", setting.source())
    torch.set_num_threads(options.threads or setting.jobs)
    results: dict[str, object] = {
        "hardware": hardware(setting.device), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "data": dataset.title, "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }  # fmt: skip
    chosen = options.only or ["encoding", "training", "scaling"]
    print(", ".join(f"{name}: {value}" for name, value in results.items()), flush=True)
    if "encoding" in chosen:
        training, decoder, knowledge = raced_decoder(setting, dataset)
        images = dataset.test.images[: max(options.images)].to(setting.device)
        found = run(
            Optimum(Evaluate(training, RACED_AT, FAST_TEST, len(images)), len(images)), setting.source()
        ).history
        best = torch.tensor(found.loss.to_numpy(), device=setting.device)
        print(f"The optimum of {len(images):,} images: all starts agree on {found.agree.mean():.1%}.", flush=True)
        racers = started(entrants(), knowledge)
        frame = encoding_race(decoder, images, best, options.images, racers, options.repeats, options.limit)
        for count, part in frame.groupby("images"):
            above = part.above.map("{:+.3%}".format, na_action="ignore")
            _show(
                part.drop(columns=["solver", "images"]).assign(above=above),
                f"Encoding {count:,} images, settings chosen on the first 256",
            )
        results["encoding"] = frame.to_dict("records")
        few = slice(16 * (min(len(images), 80) // 16))
        frame = small_batches(decoder, images[few], best[few], racers, options.repeats)
        middle = frame.groupby("encoder", sort=False)[["passes", "gap", "seconds", "gradients"]].median().reset_index()
        title = f"Batches of 16, settings within {NEAR:g} on the one before, medians; time in that of a value_and_grad"
        _show(middle, title)
        results["small batches"] = frame.to_dict("records")
    if "training" in chosen:
        frame = training_race(dataset, options.train, setting.device, trainers())
        _show(frame, "Training, one thread")
        results["training"] = frame.to_dict("records")
    if "scaling" in chosen:
        frame = scaling(dataset, setting.device, options.repeats)
        _show(frame, "Scaling")
        results["scaling"] = frame.to_dict("records")
        frame = seeds_at_once(dataset, setting.device)
        _show(frame, "Training several seeds at once, one thread: milliseconds of an iteration for each seed")
        results["seeds at once"] = frame.to_dict("records")
    tables = bench_grid.measured(chosen, setting, options.repeats, options.runs)
    peers = bench_peers.tables(chosen, setting, options.images, options.repeats)
    for name, (title, frame) in (tables | peers).items():
        _show(frame, title)
        results[name] = frame.to_dict("records")
    if options.publish:
        bench_grid.publish(tables)
        bench_peers.publish(peers)
    path = Path(options.json) if options.json else home() / "build" / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"\nwritten: {path}")
    return Exit.DONE


def _show(frame: pd.DataFrame, title: str) -> None:
    shown = frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
    print(f"\n{title}\n\n{markdown(shown)}", flush=True)
