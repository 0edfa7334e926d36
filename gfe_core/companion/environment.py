"""The environment that everything runs in: found, or made once from requirements.lock. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import IO


class Exit(IntEnum):
    """What the two commands answer to the shell."""

    DONE = 0
    FAILED = 1  # a notebook or a test
    USAGE = 2
    ENVIRONMENT = 3
    DATA = 4
    INTERRUPTED = 130


class Stop(Exception):
    """A reason to stop: one sentence that names what is wrong and the remedy, and the exit code that goes with it."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


# torchvision is looked for and not imported: beside a torch without CUDA its import needs the cure that data.py holds.
PROBE = """
import importlib.util
import filelock, hypothesis, ipykernel, IPython, ipywidgets, joblib, jupyterlab, latex2mathml, matplotlib, nbclient
import nbconvert, nbformat, numpy, pandas, papermill, PIL, psutil, pytest, ruff, scipy, seaborn, sklearn, threadpoolctl
import torch, torchdiffeq, tqdm, traitlets, xdist, yaml
if importlib.util.find_spec("torchvision") is None:
    raise ModuleNotFoundError("No module named 'torchvision'")
"""


def ensure(root: Path) -> Path:
    """Return the Python of the environment: the active conda environment's, or that of `.venv`, made now if it must be.

    `.venv` is made when it is missing, unfinished, moved, or from another requirements.lock; a second caller waits.
    Raises Stop (ENVIRONMENT) in one sentence; what pip said is in build/environment.log.
    """
    root = root.resolve()
    try:
        if conda := _active_conda(root):
            return conda
        if not _is_current(root):
            (root / "build").mkdir(exist_ok=True)
            with _alone(root / "build" / "environment.lock") as held:
                if not _is_current(root):
                    _make(root, held)
    except OSError as error:
        raise Stop(
            f"the environment cannot be made in {root} ({error}): make that folder writable and whole, then call again",
            Exit.ENVIRONMENT,
        ) from error
    return _python(root)


def _active_conda(root: Path) -> Path | None:
    """The active conda environment's Python, if it is the one of environment.yml and holds what it should."""
    prefix, active = os.environ.get("CONDA_PREFIX"), os.environ.get("CONDA_DEFAULT_ENV")
    if not prefix or not active:
        return None
    name = re.search(r"^name:\s*(\S+)", (root / "environment.yml").read_text(), re.MULTILINE)
    if name is None or active != name[1]:
        return None
    python = Path(prefix) / "bin" / "python"
    try:
        probe = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if probe.returncode == 0:
            return python
        reason = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
    except OSError as error:
        reason = str(error)
    repair = "conda env update -f environment.yml"
    _say(f"the conda environment {active} is incomplete ({reason}): using .venv instead; to repair it: {repair}")
    return None


def _python(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _stamp(root: Path) -> str:
    """What `.venv` depends on: the lock's MD5, the interpreter that it points to, and its place, as it cannot move."""
    digest = hashlib.md5((root / "requirements.lock").read_bytes(), usedforsecurity=False).hexdigest()
    return f"{digest}\n{_python(root).resolve()}\n{root}\n"


def _is_current(root: Path) -> bool:
    stamp = root / ".venv" / "stamp"
    return os.access(_python(root), os.X_OK) and stamp.is_file() and stamp.read_text() == _stamp(root)


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """Hold the lock file while the body runs; wait for whoever holds it now."""
    with path.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another call is making the environment; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield held


def _make(root: Path, held: IO[str]) -> None:
    """Make `.venv` from nothing. The stamp goes first and comes last, so that what was interrupted is made again."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Stop(
            f"Python {version} has no venv module to make the environment with: install it (Debian, Ubuntu: "
            f"sudo apt-get install python{version}-venv), then call again",
            Exit.ENVIRONMENT,
        )
    _say("making the environment in .venv, once; this takes some minutes (log: build/environment.log)")
    venv, python = root / ".venv", _python(root)
    (venv / "stamp").unlink(missing_ok=True)
    base = getattr(sys, "_base_executable", None) or sys.executable  # outlives .venv, should that be the one running
    look = "check the network, the package index that pip is set to use, and the free space"
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with (root / "build" / "environment.log").open("w+", errors="replace") as log:
        step = _Steps(log, held)
        step([base, "-m", "venv", "--clear", venv], "venv could not make .venv", f"repair Python {version} at {base}")
        lock = root / "requirements.lock"
        step([*pip, "-r", lock], f"pip could not install {lock.name} for Python {version}", look)
        step([python, "-c", PROBE], "an installed package cannot be imported", "install what its error asks for")
    site = venv / "lib" / f"python{version}" / "site-packages"
    (site / "gfe_companion.pth").write_text(f"{root}\n")
    (venv / "stamp").write_text(_stamp(root))


class _Steps:
    """Runs commands with their output in the log; the first that fails stops everything in one line."""

    def __init__(self, log: IO[str], held: IO[str]) -> None:
        self.log, self.held = log, held
        unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIREMENT")
        self.environ = {name: value for name, value in os.environ.items() if name not in unwanted} | {"PIP_USER": "0"}

    def __call__(self, command: list[str | Path], failure: str, remedy: str) -> None:
        start = self.log.seek(0, os.SEEK_END)
        # The child inherits the lock: should this process be killed, no other call touches .venv before the child ends.
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.log, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, **streams, env=self.environ, pass_fds=(self.held.fileno(),))
        if done.returncode == 0:
            return
        self.log.seek(start)
        lines = [line.strip() for line in self.log if line.strip()] or [f"exit status {done.returncode}"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        reason = reason.removeprefix("ERROR: ")[:200].rstrip(".")
        message = f"{failure} ({reason}): {remedy}, then call again; all that was said is in build/environment.log"
        raise Stop(message, Exit.ENVIRONMENT)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
