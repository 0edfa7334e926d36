"""`bench --only grid` and `--only overhead`: a grid's throughput here and on a cluster, and what it costs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pandas as pd
import psutil
from joblib.externals.loky import get_reusable_executor

from gfe_companion.cli.plan import Plan
from gfe_companion.runs import cluster
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.profiles import PROFILES, Setting
from gfe_companion.runs.stand_in import Sleeps
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans

SEEDS = tuple(range(6))  # of the trainings whose throughput is measured


@contextmanager
def loopback(folder: Path, workers: int) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """A Dask scheduler and ``workers``, each a process of this machine, their stores in ``folder``.

    Yields the scheduler file and the processes by name; raises ``TimeoutError`` where they do not start.
    """
    file, started = folder / "scheduler.json", {}

    def start(name: str, kind: str, *flags: str) -> None:
        command = [sys.executable, "-P", "-m", "dask", kind, "--host", "127.0.0.1", "--no-dashboard", *flags]
        with (folder / f"{name}.log").open("w") as log:
            environment = os.environ | {"GFE_HOME": str(folder / name)}
            started[name] = psutil.Popen(command, stdout=log, stderr=log, env=environment)

    try:
        start("scheduler", "scheduler", "--port", "0", "--scheduler-file", str(file))
        flags = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        for number in range(workers):
            start(f"worker-{number}", "worker", *flags, "--name", f"worker-{number}")
        deadline = time.monotonic() + 120
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        client = cluster.connect(str(file))
        client.wait_for_workers(workers, timeout=120)
        yield str(file), started
    finally:
        if cluster.connect.cache_info().currsize:
            cluster.connect(str(file)).close(timeout=5)
        cluster.connect.cache_clear()
        for process in started.values():
            process.kill()  # they have nothing to lose
        for process in started.values():
            process.wait()


@contextmanager
def _elsewhere(**variables: str) -> Iterator[Path]:
    """An empty store and these variables, for a while."""
    with TemporaryDirectory(prefix="gfe-bench-") as folder:
        told = {"GFE_HOME": str(Path(folder) / "home"), "GFE_SCHEDULER": "", "GFE_FORCE": "", "GFE_KEEP_RUNS": ""}
        before = {name: os.environ.get(name) for name in told | variables}
        os.environ |= told | variables
        try:
            yield Path(folder)
        finally:
            get_reusable_executor().shutdown(wait=True)  # its processes know the former store
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def throughput(setting: Setting, repeats: int = 3) -> pd.DataFrame:
    """Seconds of Table 1's trainings of the smoke profile for :data:`SEEDS`, start of processes included.

    By one process, by two, and by two workers of a Dask cluster on this machine, in turn, ``repeats`` times. Columns:
    where, runs, seconds (median), low, high, times (faster than one process, the median of the turns' ratios).
    """
    few = replace(setting, profile=PROFILES["smoke"], seeds=SEEDS)
    configs = list(dict.fromkeys(config.training for config in plans.table1(few).config))
    seconds: dict[str, list[float]] = {"1 process": [], "2 processes": [], "2 Dask workers": []}
    for _ in range(repeats):
        for where, clock in seconds.items():
            with _elsewhere() as folder:
                if where == "2 Dask workers":
                    with loopback(folder, 2) as (scheduler, _processes):
                        os.environ["GFE_SCHEDULER"] = scheduler
                        clock.append(_seconds(configs, few))
                else:
                    clock.append(_seconds(configs, replace(few, jobs=int(where[0]))))
    rows = [
        {
            "where": where, "runs": len(configs), "seconds": median(clock), "low": min(clock), "high": max(clock),
            "times": median(one / here for one, here in zip(seconds["1 process"], clock, strict=True)),
        }
        for where, clock in seconds.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def overhead(setting: Setting, count: int = 10_000, workers: int = 2, pause: float = 0.01) -> pd.DataFrame:
    """What a grid of ``count`` runs costs besides the runs: columns what, seconds, a_run_ms.

    The runs are stand-ins that sleep for ``pause`` seconds on ``workers`` of a cluster of this machine: the time that
    they take beyond sleeping, and the processor time of the scheduler and of the caller. Then the same grid is found
    finished, and planned. And the largest memory of a worker, in MB, in the column of seconds.
    """
    configs: list[RunConfig] = [Sleeps(number, pause) for number in range(count)]
    rows: list[dict] = []

    def row(what: str, seconds: float) -> None:
        rows.append({"what": what, "seconds": seconds, "a_run_ms": 1000 * seconds / count})

    with _elsewhere() as folder:
        with loopback(folder, workers) as (scheduler, processes):
            os.environ["GFE_SCHEDULER"] = scheduler
            run_grid([Sleeps(-1 - number, 0.5) for number in range(workers)], setting)  # who imports is not timed
            before, mine = _busy(processes["scheduler"]), time.process_time()
            took = _seconds(configs, setting)
            row("made on the cluster, beyond sleeping", took - count * pause / workers)
            row("  of it the scheduler's processor time", _busy(processes["scheduler"]) - before)
            row("  of it the caller's processor time", time.process_time() - mine)
            resident = max(process.memory_info().rss for name, process in processes.items() if "worker" in name)
            rows.append({"what": "memory of a worker, MB", "seconds": resident / 1e6})
            os.environ["GFE_SCHEDULER"] = ""
        row("found finished", _seconds(configs, setting))
        row("found finished once more", _seconds(configs, setting))
        page = SimpleNamespace(path=Path("00_grid.ipynb"), why=lambda: "it is asked for", needs=lambda: configs)
        for what, forced in (("planned, all being there", False), ("planned, none being there", True)):
            started = time.perf_counter()
            plan = Plan(setting, forced, workers)
            plan.lines(page)  # type: ignore[arg-type]
            plan.total()
            row(what, time.perf_counter() - started)
    return pd.DataFrame(rows)


def _seconds(configs: list[RunConfig], setting: Setting) -> float:
    started = time.perf_counter()
    run_grid(configs, setting)
    return time.perf_counter() - started


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def idle_percent() -> str:
    """What ran beside: the machine's load before anything is timed, in words for a table's title."""
    return f"{psutil.cpu_percent(interval=2):.0f} % of {os.cpu_count()} cores busy before"
