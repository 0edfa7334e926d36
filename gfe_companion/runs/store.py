"""Runs on disk: a configuration is executed once, and its folder says what came of it and where it comes from.

``runs/<name>-<key>/`` is written aside and renamed when whole, so a folder that is there is finished; ``run.json``
holds a checksum of every file, so a damaged one is noticed and made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed
from tqdm import tqdm

from gfe_companion.datasets import Source, load
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.execute import execute
from gfe_companion.runs.profiles import Setting, home

SAVE_EVERY_S = 30


@dataclass(frozen=True)
class Run:
    """A finished run: ``history`` (a DataFrame), ``weights`` (read when asked for) and ``provenance`` of ``config``."""

    config: RunConfig
    folder: Path
    history: pd.DataFrame
    provenance: dict

    @property
    def weights(self) -> dict:
        """The tensors that the run kept."""
        return torch.load(self.folder / "weights.pt", weights_only=True, map_location="cpu")


def runs_folder() -> Path:
    """Where runs are kept."""
    return home() / "runs"


def _folder(config: RunConfig) -> Path:
    return runs_folder() / f"{config.name}-{config.key}"


def finished(configs: Iterable[RunConfig]) -> list[Run]:
    """Those of the runs of ``configs`` that are there, undamaged."""
    return [found for config in configs if (found := _read(config, _folder(config)))]


def run(config: RunConfig, origin: Source) -> Run:
    """The run of ``config`` on data from ``origin``: read where it is finished, executed where it is not."""
    folder = _folder(config)
    if found := _read(config, folder):
        return found
    for needed in config.dependencies():
        run(needed, origin)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}"  # survives a kill: what was reached is there for the next attempt
    with FileLock(f"{aside}.lock"):
        if found := _read(config, folder):  # another process made it while this one waited
            return found
        if folder.exists():
            warnings.warn(f"{folder.name} is damaged and is made again.", stacklevel=2)
            shutil.rmtree(folder)
        aside.mkdir(exist_ok=True)
        _make(config, origin, aside)
        aside.rename(folder)
    return _read(config, folder)


def run_grid(configs: Iterable[RunConfig], setting: Setting) -> list[Run]:
    """The runs of all ``configs`` in order, those that others depend on first, ``setting.jobs`` at a time.

    Fewer than the profile's ``pool_from`` go one after another, for which no process has to start.
    A run uses one thread and its own generator, so its result does not depend on how many go side by side.
    """
    configs = list(configs)
    origins = {name: setting.source(name) for name in dict.fromkeys(config.trained.dataset for config in configs)}
    stages = [dict.fromkeys(configs)]
    while needed := dict.fromkeys(dependency for config in stages[0] for dependency in config.dependencies()):
        stages.insert(0, needed)
    for stage in stages:
        missing = [config for config in stage if _read(config, _folder(config)) is None]
        if missing:
            jobs = min(setting.jobs, len(missing)) if len(missing) >= setting.profile.pool_from else 1
            made = Parallel(jobs, return_as="generator_unordered")(
                delayed(_work)(config, origins[config.trained.dataset], os.getpid()) for config in missing
            )
            for _ in tqdm(made, total=len(missing), desc="runs", unit="run"):
                pass
    return [run(config, origins[config.trained.dataset]) for config in configs]


def _work(config: RunConfig, origin: Source, caller: int) -> None:
    """Make a run in a worker process, which ends itself when its caller is gone: nobody would want its result."""
    if os.getpid() != caller:
        _end_with(caller)
    run(config, origin)


@lru_cache(maxsize=1)
def _end_with(caller: int) -> None:
    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _make(config: RunConfig, origin: Source, aside: Path) -> None:
    """Execute ``config`` into the folder ``aside``; ``run.json`` is written last."""
    threads, started = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        dataset = load(config.trained.dataset, origin)
        if origin.embedded != config.trained.embedded:
            raise ValueError("the configuration and the data disagree on whether this is an embedded data set.")
        dependencies = [run(needed, origin) for needed in config.dependencies()]
        state = aside / "state.pt"
        history, weights = execute(config, dataset, [made.weights for made in dependencies], _Saved(state))
    finally:
        torch.set_num_threads(threads)
    history.to_csv(aside / "history.csv", index=False)
    torch.save(weights, aside / "weights.pt")
    state.unlink(missing_ok=True)
    provenance = {
        "config": config.describe(),
        "data": {"title": dataset.title, "md5": dataset.md5},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("torch", "numpy", "pandas")},
        "hardware": hardware(getattr(config, "device", "cpu")),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "duration_s": round(time.perf_counter() - started, 3),
        "files": {name: _checksum(aside / name) for name in ("history.csv", "weights.pt")},
    }
    part = aside / "run.json.part"
    part.write_text(json.dumps(provenance, indent=1))
    part.rename(aside / "run.json")


class _Saved:
    """The state of an unfinished run: read once at the start, saved every half minute."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, time.monotonic()

    def load(self) -> dict | None:
        try:
            return torch.load(self.path, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is wrong with the file, the run can start from its beginning
            warnings.warn(f"{self.path} cannot be read ({error}); that run starts again.", stacklevel=2)
            return None

    def due(self) -> bool:
        return time.monotonic() - self.last > SAVE_EVERY_S

    def save(self, state: dict) -> None:
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)
        self.last = time.monotonic()


def _read(config: RunConfig, folder: Path) -> Run | None:
    """The finished run in ``folder``, or None if it is missing or damaged."""
    try:
        provenance = json.loads((folder / "run.json").read_text())
        if any(_checksum(folder / name) != sum_ for name, sum_ in provenance["files"].items()):
            return None
        return Run(config, folder, pd.read_csv(folder / "history.csv"), provenance)
    except (OSError, ValueError, KeyError):
        return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hardware(device: str = "cpu") -> str:
    """The name of what computes: the GPU's, or the processor's with its number of cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
