"""The notebooks, in order, by papermill; what an earlier call finished is not done again."""

from __future__ import annotations

import argparse
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from gfe_companion.cli import peak
from gfe_companion.cli.endings import end_children
from gfe_companion.cli.environment import Exit
from gfe_companion.cli.faults import explain
from gfe_companion.cli.notebook import Notebook
from gfe_companion.cli.plan import Plan
from gfe_companion.cli.said import say
from gfe_companion.cli.turns import Turn, turn_at
from gfe_companion.datasets import DataError, Source, StandInWarning
from gfe_companion.runs import cluster
from gfe_companion.runs.profiles import MNIST, ROOT, Setting, home
from gfe_companion.runs.store import run_grid


def main(options: argparse.Namespace) -> int:
    """Do what ``./run_all.sh`` was asked for; ``options`` are its checked flags. Returns the exit code."""
    seeds = ",".join(map(str, options.seeds or ()))
    given = options.parameters
    try:
        setting = Setting.of(
            options.profile, options.data, seeds, options.jobs, options.device, given.get("dataset", MNIST)
        )
    except ValueError as error:
        return _say(str(error), Exit.USAGE)
    setting = replace(setting, offline=options.plan)
    paths = [
        path
        for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        if path.name[:2] in (options.only or path.name[:2]) and path.name[:2] >= (options.start or "00")
    ]
    parameters = {"profile": options.profile, "seeds": seeds, "jobs": options.jobs, "device": options.device}
    if "dataset" in given:
        parameters["dataset"] = setting.dataset
    chosen = [Notebook(path, setting, given | parameters) for path in paths]
    try:
        origins = _located(setting, chosen)
    except DataError as error:
        return _say(str(error), Exit.DATA)
    if options.publish and any(origin.embedded for origin in origins.values()):
        return _say("only the published data are published; name a folder that has them by --data.", Exit.DATA)
    for notebook in chosen:
        notebook.take(origins)
    with _told_to_kernels(options):
        if (scheduler := os.environ["GFE_SCHEDULER"]) and not options.plan:
            try:
                cluster.connect(scheduler).close()
            except cluster.NoCluster as error:
                return _say(str(error), Exit.ENVIRONMENT)
        if options.plan:
            return _plan(chosen, setting, options)
        build = home() / "build" / setting.name
        with turn_at(build, _say) as turn, peak.noted(build, setting.jobs):
            return _run(chosen, setting, options, turn)


def _located(setting: Setting, chosen: list[Notebook]) -> dict[str, Source]:
    """Where each data set comes from; what stands in for one is told loudly. Raises ``DataError``."""
    names = dict.fromkeys(name for notebook in chosen for name in notebook.datasets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StandInWarning)
        origins = {name: setting.source(name) for name in names}
    for warning in caught:
        _say(f"*** {warning.message} ***")
    return origins


@contextmanager
def _told_to_kernels(options: argparse.Namespace) -> Iterator[None]:
    """Which runs are good enough and where they are made, in the environment that the kernels of the notebooks get."""
    told = {"GFE_FORCE": str(time.time()) if options.force else "", "GFE_KEEP_RUNS": "1" if options.keep_runs else ""}
    told["GFE_SCHEDULER"] = options.scheduler or os.environ.get("GFE_SCHEDULER", "")
    told["GFE_LAB"] = ""  # even where it is called from a terminal of JupyterLab
    before = {name: os.environ.get(name) for name in told}
    os.environ |= told
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _plan(chosen: list[Notebook], setting: Setting, options: argparse.Namespace) -> int:
    """Print what would be done. Executes nothing, downloads nothing, unpacks nothing."""
    plan = Plan(setting, options.force, options.workers)
    for name in dict.fromkeys(name for notebook in chosen for name in notebook.datasets):
        if first := setting.pending(name):
            print(f"{name}: would be {first} first")
    for notebook in chosen:
        print("\n".join(plan.lines(notebook)), flush=True)
    print(plan.total())
    return Exit.DONE


def _run(chosen: list[Notebook], setting: Setting, options: argparse.Namespace, turn: Turn) -> int:
    turn.at("the runs")
    _make_runs(chosen, setting, options)
    get_reusable_executor().shutdown(wait=False)  # the runs' processes, whose memory the kernels need
    failed = not _execute(chosen, setting, options, turn)
    turn.at("the report")
    return _tell(chosen, setting, options, failed)


def _tell(chosen: list[Notebook], setting: Setting, options: argparse.Namespace, failed: bool) -> int:
    """Write the report, and publish where that was asked for. Returns the exit code."""
    from gfe_companion.site import report  # slow to import, and a call may end long before
    from gfe_companion.site.publish import publish
    from gfe_companion.site.show import older_files
    from gfe_companion.studies.results import listed

    try:
        if index := report.build(setting):
            _say(f"figures and tables: {_short(setting.figures)}; report: {_short(index)}")
    except BrokenPipeError:
        raise
    except report.Damaged as error:
        failed = True
        _say(f"the report was not written: {error}")
    except Exception as error:
        failed = True
        _say(f"the report was not written: {explain(error)}")
    older = older_files(setting.figures)
    if older:
        _say(f"*** these rest on runs of older code: {listed(older)}; run again without --keep-runs to renew them ***")
    if failed:
        return Exit.FAILED
    if options.publish:
        if older:
            return _say("nothing is published that rests on runs of older code.", Exit.FAILED)
        publish((notebook.build / notebook.path.name for notebook in chosen), setting)
        _say("published: figures/, notebooks/ and README.md")
    return Exit.DONE


def _make_runs(chosen: list[Notebook], setting: Setting, options: argparse.Namespace) -> None:
    """Make the runs of all notebooks that will be executed as one grid, so that no core waits at a notebook's end.

    Not where runs go one after another anyway, nor under ``--timeout``, which counts what each notebook takes. A run
    that cannot be made is met again by its notebook, which says so in its place.
    """
    if options.timeout or (setting.jobs == 1 and not os.environ["GFE_SCHEDULER"]):
        return
    with warnings.catch_warnings(record=True) as caught:
        try:
            waiting = [notebook for notebook in chosen if options.force or notebook.why()]
            run_grid(dict.fromkeys(config for notebook in waiting for config in notebook.needs()), setting)
        except BrokenPipeError:  # nobody reads what this call says
            raise
        except Exception:
            return
        finally:
            for warning in caught:
                _say(str(warning.message))


def _execute(chosen: list[Notebook], setting: Setting, options: argparse.Namespace, turn: Turn) -> bool:
    """Execute what is to be executed. Returns whether all is done.

    One after another, as cells time what they do; side by side in the smoke profile, where no time means anything.
    What reads the others' figures comes last.
    """
    failed, ended = threading.Event(), threading.Event()

    def tell(line: str) -> None:
        if not ended.is_set():  # after "interrupted" nothing more is said
            say(line)

    def execute(notebook: Notebook) -> str:
        if failed.is_set() and not options.keep_going:
            return ""
        turn.at(notebook.path.stem)
        error = _executed(notebook, options, tell)
        if error:
            failed.set()
        return error

    last = [notebook for notebook in chosen if notebook.about.get("reads_figures")]
    jobs = setting.jobs if setting.profile.name == "smoke" and not options.timeout else 1
    beside = Parallel(jobs, prefer="threads", return_as="generator_unordered")
    try:
        for part in ([notebook for notebook in chosen if notebook not in last], last):
            for error in filter(None, beside(delayed(execute)(notebook) for notebook in part)):
                _say(error)
    except BaseException:
        ended.set()
        end_children()
        raise
    return not failed.is_set()


def _executed(notebook: Notebook, options: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """Do what is to be done for ``notebook``, and ``tell`` it. Returns "", or one sentence that says why it failed."""
    stem = notebook.path.stem
    try:
        why = "--force" if options.force else notebook.why()
        if not why:
            tell(f"{stem}: nothing to do")
            return ""
        started = time.perf_counter()
        tell(f"{stem}: running ({options.profile} profile; {why})")
        if error := notebook.execute(options.timeout):
            return error
        tell(f"{stem}: done in {time.perf_counter() - started:.0f} s")
        return ""
    except BrokenPipeError:  # nobody reads what this call says
        raise
    except Exception as error:
        return f"{notebook.path.name} was not executed to its end: {explain(error)}"


def _short(path: Path) -> Path:
    return path.relative_to(home())


def _say(line: str, code: int = Exit.DONE) -> int:
    say(line)
    return code
