"""A grid of runs on a Dask cluster: configurations travel, whole runs come back, and Dask does the rest."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import CancelledError
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gfe_companion.datasets.base import Source
from gfe_companion.runs import store
from gfe_companion.runs.code import Code
from gfe_companion.runs.config import RunConfig
from gfe_companion.runs.durations import Durations
from gfe_companion.runs.folders import find, folder_of, forced_since
from gfe_companion.runs.progress import Progress
from gfe_companion.runs.worker import Files, Refused, given, hold_back, perform, versions_here

if TYPE_CHECKING:
    from distributed import Client, Future

ANSWER_S = 10  # in which a scheduler must answer
RETRIES = 2  # of a run that ended with an error, as a disk or a download may fail for once
LOOKED_S = 0.05  # between two looks at what has come back
INSTALL = "install what the extra `cluster` names, pip install distributed dask-jobqueue"


class NoCluster(RuntimeError):
    """There is no cluster to compute on, or it went away; the text says which and what to do."""


@lru_cache(maxsize=1)
def connect(scheduler: str) -> Client:
    """A client of the Dask scheduler at ``scheduler``, an address or a scheduler file; one a process.

    Raises :class:`NoCluster` where none answers within :data:`ANSWER_S` seconds.
    """
    try:
        from distributed import Client, Security
    except ImportError as error:
        raise NoCluster(f"--scheduler needs the package distributed ({error}): {INSTALL}.") from error
    remedy = "start one (dask scheduler), or call again without --scheduler"
    try:
        address = (
            scheduler if "://" in scheduler else json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"]
        )
        if address.startswith("tls") and not Security().get_connection_args("client").get("ssl_context"):
            raise ValueError("no certificate is named, see cluster/README.md")
        return Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # a timeout is an OSError
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise NoCluster(f"no Dask scheduler answers at {scheduler} ({reason}): {remedy}.") from error


def make_there(
    scheduler: str, missing: Iterable[RunConfig], origins: dict[str, Source], present: Code, durations: Durations
) -> None:
    """Have the ``missing`` runs made by the workers of the cluster, and keep each here as it comes back.

    A run starts as soon as those that it rests on are done. Dask gives the runs of a worker that dies to another. A
    worker whose code, versions or data are not those of the caller is named and retired, and the rest go on.
    Raises :class:`NoCluster` where the scheduler goes away or the last worker is refused.
    """
    from distributed import KilledWorker, as_completed

    client, missing = connect(scheduler), list(missing)
    client.run_on_scheduler(hold_back)
    configs = {future: config for config, future in _submitted(client, missing, origins, present).items()}
    returned = as_completed(configs, loop=client.loop)
    with Progress(missing, durations, lambda left: _state(client, left)) as progress:
        while configs:
            if client.status != "running":
                raise NoCluster(f"the Dask scheduler at {scheduler} went away; what came back is kept: call again.")
            if not returned.has_ready():
                time.sleep(LOOKED_S)
                continue
            future = returned.next()
            config = configs[future]
            if not future.done():  # it is tried again, with what it rests on
                returned.add(future)
                continue
            try:
                progress.done(store.receive(config, future.result(), present))
                del configs[future]
            except Refused as refused:
                _retire(client, refused)
                future.retry()
                returned.add(future)
            except CancelledError as error:
                time.sleep(1)  # by then the client knows if the scheduler went away
                if client.status == "running":
                    raise NoCluster(f"{config.name} was cancelled on the cluster ({error}): call again.") from error
            except KilledWorker as error:
                raise NoCluster(
                    f"{config.name} is given up, as {error.allowed_failures + 1} workers died while they made it, "
                    f"{error.last_worker.address} the last: see that worker's log, and whether its memory is enough."
                ) from error


def _submitted(
    client: Client, missing: list[RunConfig], origins: dict[str, Source], present: Code
) -> dict[RunConfig, Future]:
    """A future for each of the ``missing`` runs, which waits for those of the runs that it rests on."""
    from distributed.protocol.pickle import dumps

    futures: dict[RunConfig, Future] = {}
    wanted, versions, forced = set(missing), versions_here(), forced_since()

    def future_of(config: RunConfig) -> Future:
        if config in futures:
            return futures[config]
        key = f"{folder_of(config, present).name}-{uuid4().hex[:8]}"  # never shared: another caller may be interrupted
        if config in wanted:
            data = str(origins[config.trained.dataset].folder or "")
            needed = [future_of(dependency) for dependency in config.dependencies()]
            told = (dumps(config), present.rests_on(config), versions, data, forced, needed)
            futures[config] = client.submit(perform, *told, pure=False, retries=RETRIES, key=key)
        else:
            futures[config] = client.submit(given, files_of(config, present), pure=False, key=key)
        return futures[config]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # runs that are here already have weights
        return {config: future_of(config) for config in missing}


def files_of(config: RunConfig, present: Code) -> Files:
    """All files of a run that is finished here."""
    run = find(config, present, exact=True)
    assert run is not None, f"{config.name} is finished"
    return {name: (run.folder / name).read_bytes() for name in (*run.provenance["files"], "run.json")}


def _retire(client: Client, refused: Refused) -> None:
    """Let a worker that cannot make these runs go, by name. Raises :class:`NoCluster` if it was the last one."""
    if refused.address not in _workers(client):
        return  # refused more than once, in several runs
    client.retire_workers([refused.address])
    if not _workers(client):
        raise NoCluster(f"{refused} No other worker is left.")
    print(f"\r{refused}", file=sys.stderr, flush=True)


def _workers(client: Client) -> dict[str, dict]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _state(client: Client, left: int) -> tuple[int, str]:
    """How many runs the workers are at, and whether there are any workers."""
    try:
        workers = _workers(client)
    except (OSError, CancelledError, RuntimeError):
        return 0, "the scheduler does not answer"
    if not workers:
        return 0, "waiting for workers"
    running = sum(each["metrics"].get("task_counts", {}).get("executing", 0) for each in workers.values())
    return min(left, running), f"{len(workers):,} workers"
