"""A configuration is executed once: its run is read where it is finished, and made where it is not.

Whether it is finished depends on its settings and on the code that it rests on: see :mod:`code`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from threading import Thread

import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed

from gfe_companion.datasets.base import DataError, Source
from gfe_companion.datasets.registry import load
from gfe_companion.runs import code
from gfe_companion.runs.code import Code, require_loaded
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.durations import Durations, longest_first
from gfe_companion.runs.folders import Run, checksum, find, finished, folder_of, forced_since, read, runs_folder, sum_of
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import Progress
from gfe_companion.runs.unfinished import BrokenOff, Kept, Saved

__all__ = ["Run", "finished", "hardware", "run", "run_grid", "runs_folder"]


def run(config: RunConfig, origin: Source) -> Run:
    """The run of ``config`` on data from ``origin``: read where it is finished, executed where it is not.

    Raises :class:`~gfe_companion.runs.code.StaleCode` where it must be executed and its code changed on disk after it
    was read into memory.
    """
    return make(config, origin, code.now(), exact=False)


def run_grid(configs: Iterable[RunConfig], setting: Setting) -> list[Run]:
    """The runs of all ``configs`` in order, those that others depend on first.

    They go side by side: on the workers of the Dask scheduler that GFE_SCHEDULER names, else in ``setting.jobs``
    processes of this machine. Fewer than the profile's ``pool_from`` go one after another there, for which no process
    has to start. A run uses one thread and its own generator, so its result does not depend on how many go side by
    side, or where. Raises :class:`~gfe_companion.runs.code.StaleCode` as :func:`run`, before any is executed, and
    :class:`~gfe_companion.runs.cluster.NoCluster`.
    """
    configs, present = list(configs), code.now()
    origins = {name: setting.source(name) for name in dict.fromkeys(config.trained.dataset for config in configs)}
    found = {config: find(config, present) for config in dict.fromkeys(configs)}
    stages = [[config for config, there in found.items() if there is None]]
    while needed := dict.fromkeys(dependency for config in stages[0] for dependency in config.dependencies()):
        stages.insert(0, [config for config in needed if find(config, present, exact=True) is None])
    missing = list(dict.fromkeys(config for stage in stages for config in stage))
    for config in missing:
        require_loaded(config, present.rests_on(config))
    if missing:
        durations = Durations()
        if scheduler := os.environ.get("GFE_SCHEDULER"):
            from gfe_companion.runs.cluster import make_there

            make_there(scheduler, longest_first(missing, durations), origins, present, durations)
        else:
            _make_here(missing, origins, present, durations, setting)
    return [found[config] or make(config, origins[config.trained.dataset], present, False) for config in configs]


def _make_here(
    missing: list[RunConfig], origins: dict[str, Source], present: Code, durations: Durations, setting: Setting
) -> None:
    """Make the ``missing`` runs in processes of this machine, as soon as the runs that they rest on are there."""
    jobs = 1

    def state(left: int) -> tuple[int, str]:
        return min(jobs, left), ""

    with warnings.catch_warnings(), Progress(missing, durations, state) as progress:
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # it has grown, and another takes over
        while ready := [config for config in progress.left if progress.left.keys().isdisjoint(config.dependencies())]:
            jobs = min(setting.jobs, len(ready)) if len(ready) >= setting.profile.pool_from else 1
            made = Parallel(jobs, return_as="generator_unordered")(
                delayed(_work)(config, origins, os.getpid(), present.rests_on(config))
                for config in (longest_first(ready, durations) if jobs > 1 else ready)
            )
            for config in made:
                progress.done(make(config, origins[config.trained.dataset], present))


def make(config: RunConfig, origin: Source, present: Code, exact: bool = True) -> Run:
    """The run of ``config`` under the code ``present``, read or made; unless ``exact``, one of older code may do."""
    if found := find(config, present, exact):
        return found
    require_loaded(config, present.rests_on(config))
    for needed in config.dependencies():
        make(needed, origin, present)  # what is made anew never rests on older code
    return _settle(config, present, exact, lambda aside: _make(config, origin, aside, present))


def receive(config: RunConfig, files: dict[str, bytes], present: Code) -> Run:
    """Keep a run that was made elsewhere, whose ``files`` are given by name, as if it had been made here."""

    def write(aside: Path) -> None:
        for name in sorted(files, key="run.json".__eq__):  # which comes last
            (aside / name).write_bytes(files[name])

    return find(config, present, exact=True) or _settle(config, present, True, write)


def _settle(config: RunConfig, present: Code, exact: bool, write: Callable[[Path], None]) -> Run:
    """Have the folder of a run written aside, and give it its name when it is whole."""
    folder = folder_of(config, present)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}"  # survives a kill: what was reached is there for the next attempt
    with FileLock(f"{aside}.lock"):
        if found := find(config, present, exact):  # another process made it while this one waited
            return found
        if folder.exists() and read(config, folder) is None:
            warnings.warn(f"{folder.name} is damaged and is made again.", stacklevel=2)
        whole = read(config, aside)  # by an attempt that was killed just before it gave it its name
        if whole is None or whole.provenance["ended"] < forced_since():
            aside.mkdir(exist_ok=True)
            write(aside)
        before = folder.parent / f"{aside.name}.before"
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
        aside.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    made = find(config, present, exact)
    if made is None:
        raise RuntimeError(f"{folder} was damaged as soon as it was written; check the disk and run again.")
    return made


def _work(config: RunConfig, origins: dict[str, Source], caller: int, digests: dict[str, str]) -> RunConfig:
    """Make a run in a worker process, where the grid's data sets come from ``origins``.

    ``digests`` are those of the caller: a worker that has read other code makes nothing.
    """
    if os.getpid() != caller:
        _begin(caller, tuple(origins.items()))
    require_loaded(config, digests)
    make(config, origins[config.trained.dataset], code.LOADED)
    return config


@lru_cache(maxsize=1)
def _begin(caller: int, origins: tuple[tuple[str, Source], ...]) -> None:
    """What a worker process does first.

    It will end itself when its caller is gone: nobody would want its results. And it reads all data sets: joblib takes
    a worker that grows later on for one that leaks, and starts another in its place, which costs seconds each time.
    """

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
    for name, origin in origins:
        with suppress(DataError):  # which the runs on that data set will meet
            load(name, origin)


def _make(config: RunConfig, origin: Source, aside: Path, present: Code) -> None:
    """Execute ``config`` into the folder ``aside``; ``run.json`` is written last."""
    threads, started = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    (aside / "run.json").unlink(missing_ok=True)
    try:
        dataset = load(config.trained.dataset, origin)
        if origin.embedded != config.trained.embedded:
            raise ValueError("the configuration and the data disagree on whether this is an embedded data set.")
        dependencies = [make(needed, origin, present) for needed in config.dependencies()]
        state = aside / "state.pt"
        history, weights = config.execute(dataset, [Kept(made) for made in dependencies], Saved(state))
    except (BrokenOff, FloatingPointError) as error:  # a finding about the method, like the training's own
        history, weights = pd.DataFrame([{"loss": math.nan, "failure": str(error)}]), {}
    finally:
        torch.set_num_threads(threads)
    history.to_csv(aside / "history.csv", index=False)
    content = BytesIO()  # PyTorch's own writing hides why it failed: a full disk, say
    torch.save(weights, content)
    (aside / "weights.pt").write_bytes(content.getbuffer())
    state.unlink(missing_ok=True)
    kind, images = config.work
    provenance = {
        "config": config.describe(),
        "code": present.rests_on(config),
        "data": {"title": dataset.title, "md5": dataset.md5},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("torch", "numpy", "pandas")},
        "hardware": hardware(config.device),
        "host": platform.node(),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "ended": max(time.time(), forced_since()),  # by a machine whose clock is behind, it is new all the same
        "duration_s": round(time.perf_counter() - started, 3),
        "work": {"kind": kind, "images": images},
        "files": {name: checksum(aside / name) for name in ("history.csv", "weights.pt")},
    }
    if "failure" in history and (failures := history.failure.dropna().tolist()):
        provenance["failure"] = failures[-1]
    provenance["sum"] = sum_of(provenance)
    part = aside / "run.json.part"
    part.write_text(json.dumps(provenance, indent=1), encoding="utf-8")
    part.rename(aside / "run.json")


def hardware(device: str = "cpu") -> str:
    """The name of what computes: the GPU's, or the processor's with its number of cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
