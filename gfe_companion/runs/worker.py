"""What a worker of a Dask cluster does with a run that it is sent.

The scheduler imports this module too, so that it brings in the standard library alone; it never unpickles a
configuration, which is bytes to it.
"""

from __future__ import annotations

import os
import pickle
import platform
import socket
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler

    from gfe_companion.datasets.base import Source
    from gfe_companion.runs.config import RunConfig

Files = dict[str, bytes]  # a finished run as it travels: the content of each of its files, by name


class Refused(RuntimeError):
    """A worker cannot make a run as the caller would: its address, its name for people, and why, with the remedy."""

    def __init__(self, address: str, name: str, why: str) -> None:
        super().__init__(address, name, why)
        self.address, self.name, self.why = address, name, why

    def __str__(self) -> str:
        return f"the worker {self.name} is refused: {self.why}"


def versions_here() -> dict[str, str]:
    """What numbers depend on besides the code: the versions of Python, torch and NumPy; builds do not count."""
    found = {package: version(package).partition("+")[0] for package in ("torch", "numpy")}
    return {"Python": ".".join(platform.python_version_tuple()[:2])} | found


def given(files: Files) -> Files:
    """A run that the caller has already, for those that rest on it."""
    return files


def hold_back(dask_scheduler: Scheduler) -> None:
    """Let a scheduler give each worker the run that it is at, and none to wait behind it while others have nothing."""
    dask_scheduler.WORKER_SATURATION = 1.0


def perform(
    sent: bytes, digests: dict[str, str], versions: dict[str, str], data: str, forced: float, needed: list[Files]
) -> Files:
    """Make the run of the configuration in ``sent`` in this worker's own store, and return all of it.

    ``digests`` and ``versions`` are those of the caller's code and packages; ``data`` is the caller's folder, which is
    used where it is here too; ``forced`` is when older runs began to count as missing; ``needed`` holds the runs that
    this one rests on. Raises :class:`Refused`.
    """
    from distributed import get_worker

    worker = get_worker()
    name = f"{worker.name} on {socket.gethostname()}"

    def refuse(why: str) -> Refused:
        return Refused(worker.address, name, why)

    if worker.state.nthreads > 1:
        count = worker.state.nthreads
        raise refuse(f"it has {count} threads, and a run is a process of one: give it --nworkers {count} --nthreads 1.")
    try:
        from gfe_companion.runs import code, store

        config: RunConfig = pickle.loads(sent)
        differ = code.changed(code.LOADED.rests_on(config), digests)
    except Exception as error:  # whatever is missing there, its code is not the caller's
        raise refuse(f"it cannot read what it is sent ({error!r}): bring its copy up to date, restart it.") from error
    if differ:
        more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
        path = code.LOADED.modules.get(differ[0], differ[0])
        raise refuse(f"its code of {path}{more} is not the caller's: bring its copy up to date and restart it.")
    if other := sorted(name for name, found in versions_here().items() if versions[name] != found):
        here, wanted = (", ".join(f"{name} {those[name]}" for name in other) for those in (versions_here(), versions))
        raise refuse(f"it has {here}, and the caller {wanted}: install the versions of requirements.lock there.")
    os.environ |= {"GFE_FORCE": str(forced or ""), "GFE_KEEP_RUNS": ""}
    try:
        origin = _source(config, data)
    except Exception as error:
        raise refuse(f"it has no data: {error}") from error
    for dependency, files in zip(config.dependencies(), needed, strict=True):
        store.receive(dependency, files, code.LOADED)
    made = store.make(config, origin, code.LOADED)
    return {file.name: file.read_bytes() for file in map(made.folder.joinpath, (*made.provenance["files"], "run.json"))}


def _source(config: RunConfig, data: str) -> Source:
    """Where the worker has the data from: the folder of its own GFE_DATA, the caller's if it is here, or a download."""
    from gfe_companion.datasets import Source, StandInWarning, locate
    from gfe_companion.runs.profiles import home

    if config.trained.embedded:
        return Source(None)
    named = os.environ.get("GFE_DATA") or (data if data and Path(data).is_dir() else "")
    with warnings.catch_warnings():
        warnings.simplefilter("error", StandInWarning)
        try:
            return locate(named or "auto", config.trained.dataset, home() / "data")
        except StandInWarning as warning:
            raise RuntimeError(f"{warning} On a cluster: set GFE_DATA where the worker starts.") from warning
