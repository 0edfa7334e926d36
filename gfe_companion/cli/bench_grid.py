"""`bench --only grid` and `--only overhead`: a grid's throughput here and on a cluster, and what it costs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import ceil, isnan
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pandas as pd
import psutil
from joblib.externals.loky import get_reusable_executor

from gfe_companion.cli.plan import Plan
from gfe_companion.methods import METHODS
from gfe_companion.runs import cluster
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.runs.stand_in import Sleeps
from gfe_companion.runs.store import run_grid
from gfe_companion.site.publish import with_results
from gfe_companion.studies import plans
from gfe_companion.studies.results import markdown

SEEDS = tuple(range(16))  # of the trainings whose throughput is measured
WORKERS, PAUSE_S = 2, 0.01  # of the cluster on which the runs sleep, and how long each does
PUBLISHED = ROOT / "cluster"  # where the tables of this module are committed
HEADINGS = {
    "times": "times as fast as 1 process", "processor_s": "seconds of processor", "memory_mb": "memory of a worker, MB",
    "a_run_ms": "ms a run",
}  # fmt: skip
LARGE = {"seeds": 100, "data sets": 5, "images": 100_000_000}  # a grid to think about, in images seen in training


def measured(chosen: list[str], setting: Setting, repeats: int, runs: int) -> dict[str, tuple[str, pd.DataFrame]]:
    """The tables of those parts that are ``chosen``: their title and numbers, by the name of their file."""
    found, beside = {}, f"{psutil.cpu_percent(interval=2):.0f} % of {os.cpu_count()} cores were busy before"
    if "grid" in chosen:
        title = f"Table 1's smoke trainings of {len(SEEDS)} seeds, median of {repeats}; {beside}"
        found["cluster_grid"] = (title, throughput(setting, repeats))
    if "overhead" in chosen:
        title = f"What a grid of {runs:,} runs costs besides its runs; {beside}"
        found["cluster_overhead"] = (title, overhead(setting, runs))
    if found:
        large = " x ".join(f"{count:,} {name}" for name, count in LARGE.items())
        found["cluster_hours"] = (f"{large}: from the published seconds of trainings on one thread", on_paper())
    return found


@contextmanager
def loopback(folder: Path, workers: int) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """A Dask scheduler and ``workers``, each a process of this machine, their stores in ``folder``.

    Yields the scheduler file and the processes by name; raises ``TimeoutError`` where they do not start.
    """
    file, started = folder / "scheduler.json", {}

    def start(name: str, kind: str, *flags: str) -> None:
        command = [sys.executable, "-P", "-m", "dask", kind, "--host", "127.0.0.1", "--no-dashboard", *flags]
        with (folder / f"{name}.log").open("wb") as log:
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
    where, runs, seconds (median), low, high, times (faster than one process, the median of the turns' ratios), and
    processor_s, what all processes used together (median), and memory_mb, the largest memory of a Dask worker.
    """
    few = replace(setting, profile=replace(PROFILES["smoke"], pool_from=2), seeds=SEEDS)
    configs = list(dict.fromkeys(config.training for config in plans.table1(few).config))
    places = ("1 process", "2 processes", "2 Dask workers")
    rows: list[dict] = []
    for turn in range(repeats):
        for where in places:
            before = _used()
            processes: dict[str, psutil.Process] = {}
            with _elsewhere() as folder, ExitStack() as stack:
                if where == "2 Dask workers":
                    os.environ["GFE_SCHEDULER"], processes = stack.enter_context(loopback(folder, 2))
                took = _seconds(configs, replace(few, jobs=int(where[0])))
                memory = _memory(processes)
            rows.append({"turn": turn, "where": where, "seconds": took, "processor_s": _used() - before})
            rows[-1]["memory_mb"] = memory
    frame = pd.DataFrame(rows)
    alone = frame[frame["where"] == places[0]].set_index("turn").seconds
    frame["times"] = frame.turn.map(alone) / frame.seconds
    found = frame.groupby("where", sort=False).agg(
        seconds=("seconds", "median"), low=("seconds", "min"), high=("seconds", "max"), times=("times", "median"),
        processor_s=("processor_s", "median"), memory_mb=("memory_mb", "max"),
    )  # fmt: skip
    return found.reset_index().assign(runs=len(configs))


def _used() -> float:
    """Seconds of processor that this process and those of its children that have ended used until now."""
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def overhead(setting: Setting, count: int = 10_000) -> pd.DataFrame:
    """What a grid of ``count`` runs costs besides the runs: columns what, seconds, a_run_ms.

    The runs are stand-ins that sleep for :data:`PAUSE_S` on :data:`WORKERS` of a cluster of this machine: the time that
    they take beyond sleeping, and the processor time of the scheduler and of the caller. Then the same grid is found
    finished, and planned. And the largest memory of a worker, in MB, in the column of seconds.
    """
    configs: list[RunConfig] = [Sleeps(number, PAUSE_S) for number in range(count)]
    rows: list[dict] = []

    def row(what: str, seconds: float) -> None:
        rows.append({"what": what, "seconds": seconds, "a_run_ms": 1000 * seconds / count})

    with _elsewhere() as folder:
        with loopback(folder, WORKERS) as (scheduler, processes):
            os.environ["GFE_SCHEDULER"] = scheduler
            run_grid([Sleeps(-1 - number, 0.5) for number in range(WORKERS)], setting)  # who imports is not timed
            before, mine = _busy(processes["scheduler"]), time.process_time()
            took = _seconds(configs, setting)
            row("made on the cluster, beyond sleeping", took - count * PAUSE_S / WORKERS)
            row("  of it the scheduler's processor time", _busy(processes["scheduler"]) - before)
            row("  of it the caller's processor time", time.process_time() - mine)
            rows.append({"what": "memory of a worker, MB", "seconds": _memory(processes)})
            os.environ["GFE_SCHEDULER"] = ""
        row("found finished", _seconds(configs, setting))
        row("found finished once more", _seconds(configs, setting))
        page = SimpleNamespace(path=Path("00_grid.ipynb"), why=lambda: "it is asked for", needs=lambda: configs)
        for what, forced in (("planned, all being there", False), ("planned, none being there", True)):
            started = time.perf_counter()
            plan = Plan(setting, forced, WORKERS)
            plan.lines(page)  # type: ignore[arg-type]
            plan.total()
            row(what, time.perf_counter() - started)
    return pd.DataFrame(rows)


def on_paper(workers: tuple[int, ...] = (20, 500, 5000)) -> pd.DataFrame:
    """Hours of :data:`LARGE` by each method, from the published seconds of its longest trainings, in the mean.

    A training is one thread's, so that more workers than trainings do not help. Columns: method, seconds an image (in
    training), hours of one training, and hours in all, by one worker and by ``workers``.
    """
    curves = pd.concat(
        [pd.read_csv(ROOT / "figures" / "paper" / f"{name}.csv") for name in ("fig4_right", "fig8_clock")]
    )
    most = curves.groupby("method").images.transform("max")
    longest = curves[curves.images == most].groupby("method")[["seconds", "images"]].mean()
    trainings, rows = LARGE["seeds"] * LARGE["data sets"], []
    for method in [name for name in METHODS if name in longest.index]:
        an_image = longest.seconds[method] / longest.images[method]
        one = an_image * LARGE["images"] / 3600
        hours = {"one training": one, "1 worker": trainings * one}
        hours |= {f"{count:,} workers": ceil(trainings / count) * one for count in workers}
        row = {"method": METHODS[method].look.short, "ms an image": f"{1000 * an_image:.2f}"}
        rows.append(row | {name: f"{each:,.0f} h" for name, each in hours.items()})
    return pd.DataFrame(rows)


def publish(tables: dict[str, tuple[str, pd.DataFrame]]) -> None:
    """Put ``tables``, (title, frame) by name, into :data:`PUBLISHED` and the page on clusters."""
    for name, (title, frame) in tables.items():
        shown = frame.rename(columns=HEADINGS).map(_cell)
        (PUBLISHED / f"{name}.md").write_text(f"**{title}**\n\n{markdown(shown)}\n", encoding="utf-8")
    readme = ROOT / "cluster" / "README.md"
    readme.write_text(with_results(readme.read_text(encoding="utf-8"), PUBLISHED), encoding="utf-8")


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return value


def _seconds(configs: list[RunConfig], setting: Setting) -> float:
    started = time.perf_counter()
    run_grid(configs, setting)
    return time.perf_counter() - started


def _memory(processes: dict[str, psutil.Process]) -> float:
    """The largest memory of a worker among ``processes``, in MB."""
    resident = [process.memory_info().rss / 1e6 for name, process in processes.items() if name.startswith("worker")]
    return max(resident, default=float("nan"))


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
