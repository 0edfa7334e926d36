"""A notebook executed by papermill in a kernel of this environment, whatever other kernels and settings there are."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import Dict
from traitlets.config import Config

from gfe_companion.cli.endings import end_children, temporary
from gfe_companion.cli.faults import KEPT, REMEDIES, explain, remedy_for
from gfe_companion.cli.settings import settled
from gfe_companion.runs.profiles import ROOT

START_S = 180  # until a kernel must have answered: network disks are slow
# What a kernel starts with: no settings and start-up files of IPython that are there for everybody on this machine.
# What its sockets meet as they are closed is no news.
LAUNCH = """
import logging
from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS
from ipykernel.kernelapp import launch_new_instance
for folders in (ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS):
    folders.clear()
for name in ("asyncio", "tornado"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
launch_new_instance()
"""
LONGEST = 100  # bytes of a local socket's path; systems allow 103 or more


class NotExecuted(Exception):
    """Why a notebook was not executed to its end, in one sentence with the remedy."""


class Kernel(AsyncKernelManager):
    """A kernel by its own specification: this Python, and no other that Jupyter may know by the same name."""

    surroundings = Dict(help="the folder and the environment variables that it starts with").tag(config=True)

    @property
    def kernel_spec(self) -> KernelSpec:
        """This Python with the project's modules."""
        argv = [sys.executable, "-P", "-c", LAUNCH, "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python", name="python3")

    async def _async_pre_start_kernel(self, **given: Any) -> tuple[list[str], dict[str, Any]]:
        """Its command, in its own surroundings, whatever those of this process are."""
        return await super()._async_pre_start_kernel(**self.surroundings, **given)

    async def _async_interrupt_kernel(self) -> None:
        """Nothing: it is asked for at a notebook's end alone, and whatever the cells started would complain aloud."""


def execute(path: Path, part: Path, parameters: dict[str, object], minutes: float | None = None) -> None:
    """Execute the notebook at ``path`` with ``parameters`` into the file ``part``, for ``minutes`` at most.

    Raises :class:`NotExecuted`; ``part`` then holds what was reached, if a cell was.
    """
    late = threading.Event()
    watch = threading.Timer(60 * minutes, _stop, (late,)) if minutes else None
    for name in ("papermill", "traitlets", "asyncio"):  # nothing in the place of our one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _surroundings(part.parent) as config:
            if watch:
                watch.daemon = True
                watch.start()
            given, made = (str(file).replace("{", "{{").replace("}", "}}") for file in (path, part))  # no templates
            papermill.execute_notebook(
                given, made, parameters, kernel_name="python3", language="python", kernel_manager_class=Kernel,
                config=config, progress_bar=False, stderr_file=sys.stderr, start_timeout=START_S,
            )  # fmt: skip
    except BrokenPipeError:  # nobody reads what this call says
        raise
    except Exception as error:
        raise NotExecuted(_sentence(path.name, error, minutes if late.is_set() else None)) from error
    finally:
        if watch:
            watch.cancel()


def _stop(late: threading.Event) -> None:
    late.set()
    end_children()


def _sentence(name: str, error: Exception, late: float | None) -> str:
    if late:
        return f"{name} took longer than the {late:g} minutes of --timeout: give it more; {KEPT}"
    if isinstance(error, PapermillExecutionError):
        said = " ".join(str(error.evalue).split())[:500]
        remedy = remedy_for(error.ename, said)
        return f"{name} failed in cell {error.cell_index}: {error.ename}: {said}" + f" ({remedy})" * bool(remedy)
    if isinstance(error, DeadKernelError):
        return (
            f"{name} was cut off, as its Python was killed, by the system where memory ran out, or by somebody: lower "
            f"--jobs or end other programs; {KEPT}"
        )
    if type(error).__module__.startswith("zmq"):
        if (number := getattr(error, "errno", None)) in REMEDIES:
            return f"{name} was not executed: {explain(OSError(number, str(error)))}"
        return f"{name} was not executed, as its kernel cannot be talked to ({error}): let TMPDIR name a short path"
    if isinstance(error, RuntimeError) and "ernel" in str(error):
        return (
            f"{name} was not executed, as no kernel could be started ({error}): what Python said of it is above; if "
            "its packages are damaged, remove .venv, then call again"
        )
    return f"{name} was not executed to its end: {explain(error)}"


@contextmanager
def _surroundings(cwd: Path) -> Iterator[Config]:
    """What a kernel finds: its environment variables, no start-up files of IPython, and sockets for this user alone."""
    folder = Path(tempfile.mkdtemp(prefix="gfe-", dir=_short()))
    temporary.add(folder)
    environ = settled(os.environ, ROOT) | {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    reached = {"connection_file": f"{folder}/kernel.json"}
    if len(os.fsencode(folder)) + len("/kernel-5") <= LONGEST:  # else by TCP on this machine alone, with a key
        reached |= {"transport": "ipc", "ip": f"{folder}/kernel"}
    try:
        yield Config({"KernelManager": reached, "Kernel": {"surroundings": {"cwd": str(cwd), "env": environ}}})
    finally:
        temporary.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _short() -> str | None:
    """A folder for temporary files whose path leaves room for a socket's name, if there is one."""
    usual = tempfile.gettempdir()
    for place in (usual, "/tmp", "/var/tmp"):
        if len(os.fsencode(place)) <= LONGEST - len("/gfe-12345678/kernel-5") and os.access(place, os.W_OK | os.X_OK):
            return place
    return usual
