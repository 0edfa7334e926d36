"""The environment that everything runs in: found, or made once from requirements.lock. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import IO

from gfe_companion.cli.inspection import PIN, PROBE, ask, damaged_packages, facts_of, find_fault, in_short, plain
from gfe_companion.cli.said import say


class Exit(IntEnum):
    """What the commands answer to the shell."""

    DONE = 0
    FAILED = 1  # a notebook or a test
    USAGE = 2
    ENVIRONMENT = 3
    DATA = 4
    INTERRUPTED = 130
    NO_READER = 141  # as the shell has it for a program that wrote into a pipe that nobody reads


class Stop(Exception):
    """A reason to stop: one sentence that names what is wrong and the remedy, and the exit code that goes with it."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


MARKER = "made-by-gfe-companion"
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")
LOOK = "check the network, the package index that pip is set to use, and the free space"


def ensure(root: Path) -> Path:
    """Return the Python of the environment: the active conda environment's, or that of `.venv`, made now if it must be.

    `.venv` is made when it is missing, unfinished, moved, or from another requirements.lock; a second caller waits.
    Packages that are missing there, at another version, or not whole are put back.
    One that the project did not make is used if it has what is needed, and is never written to.
    Raises Stop (ENVIRONMENT) in one sentence; what pip said is in build/environment.log.
    """
    root = root.resolve()
    try:
        if conda := _active_conda(root):
            return conda
        if not _is_foreign(root) and (not _is_current(root) or _wrong(root)):
            (root / "build").mkdir(exist_ok=True)
            with _alone(root / "build" / "environment.lock") as held:
                if not _is_foreign(root) and not _is_current(root):
                    _make(root, held)
                elif not _is_foreign(root) and (wrong := _wrong(root)):
                    _mend(root, held, wrong)
        fault = find_fault(root) if _is_foreign(root) else None
    except OSError as error:
        raise Stop(
            f"the environment cannot be made in {root} ({error}): make that folder writable and whole, then call again",
            Exit.ENVIRONMENT,
        ) from error
    if fault:
        raise Stop(
            f"{root / '.venv'} was not made by this project, so it is left as it is, and it cannot be used "
            f"({fault.reason}): {fault.remedy}, then call again",
            Exit.ENVIRONMENT,
        )
    return _python(root)


def _active_conda(root: Path) -> Path | None:
    """The active conda environment's Python, if it is the one of environment.yml and holds what it should."""
    prefix, active = os.environ.get("CONDA_PREFIX"), os.environ.get("CONDA_DEFAULT_ENV")
    if not prefix or not active:
        return None
    name = re.search(r"^name:\s*(\S+)", (root / "environment.yml").read_text(encoding="utf-8"), re.MULTILINE)
    if name is None or active != name[1]:
        return None
    python = Path(prefix) / "bin" / "python"
    _, reason = ask(python, PROBE)
    if not reason:
        return python
    repair = "conda env update -f environment.yml"
    say(f"the conda environment {active} is incomplete ({reason}): using .venv instead; to repair it: {repair}")
    return None


def _python(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _stamp(root: Path) -> str:
    """What `.venv` depends on: the MD5 of what the lock names, the interpreter that it points to, and its own place."""
    named = [line for line in (root / "requirements.lock").read_bytes().splitlines(True) if not line.startswith(b"#")]
    digest = hashlib.md5(b"".join(named), usedforsecurity=False).hexdigest()
    return f"{digest}\n{_python(root).resolve()}\n{root}\n"


def _read_stamp(root: Path) -> str:
    try:
        return (root / ".venv" / "stamp").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_current(root: Path) -> bool:
    whole = os.access(_python(root), os.X_OK) and (root / ".venv" / "pyvenv.cfg").is_file()
    return whole and _read_stamp(root) == _stamp(root)


def _wrong(root: Path) -> dict[str, str]:
    """What is wrong with packages of the project's own `.venv`, by name."""
    return damaged_packages(_pins(root), facts_of(root / ".venv"))


def _pins(root: Path) -> list[tuple[str, ...]]:
    return PIN.findall((root / "requirements.lock").read_text(encoding="utf-8"))


def _is_foreign(root: Path) -> bool:
    """Whether `.venv` is there and may hold what the project did not make: any link, file, or folder without a marker.

    Earlier versions of this project wrote no marker, only the stamp, so a stamp in the form of `_stamp` counts as one,
    whichever root it names: the repository may have moved. An empty folder is not foreign, as it has nothing to lose.
    """
    venv = root / ".venv"
    if venv.is_symlink() or not venv.is_dir():
        return venv.is_symlink() or venv.exists()
    # In this order, as another call may be at work: it writes the marker before it removes a stamp.
    filled = any(venv.iterdir())
    stamped = re.fullmatch(r"[0-9a-f]{32}\n/.+\n/.+\n", _read_stamp(root))
    return filled and not stamped and not (venv / MARKER).is_file()


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """Hold the lock file while the body runs; wait for whoever holds it now."""
    with path.open("w", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another call is making the environment; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield held


def _make(root: Path, held: IO[str]) -> None:
    """Make `.venv` from nothing. The stamp goes first and comes last, so that what was interrupted is made again.

    The marker is there before anything else and stays, so that what was interrupted is known to be the project's own.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Stop(
            f"Python {version} has no venv module to make the environment with: install it (Debian, Ubuntu: "
            f"sudo apt-get install python{version}-venv), then call again",
            Exit.ENVIRONMENT,
        )
    say("making the environment in .venv, once; this takes some minutes (log: build/environment.log)")
    venv, python = root / ".venv", _python(root)
    venv.mkdir(exist_ok=True)
    promise = "This folder may be emptied and made again at any time: keep nothing of yours in it.\n"
    (venv / MARKER).write_text(promise, encoding="utf-8")
    (venv / "stamp").unlink(missing_ok=True)
    for entry in list(venv.iterdir()):  # and not by venv --clear, which would take the marker too
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()
    base = getattr(sys, "_base_executable", None) or sys.executable  # outlives .venv, should that be the one running
    with _log(root) as log:
        step = _Steps(log, held)
        step([base, "-m", "venv", venv], "venv could not make .venv", f"repair Python {version} at {base}")
        lock = root / "requirements.lock"
        step([python, *PIP, "-r", lock], f"pip could not install {lock.name} for Python {version}", LOOK)
        step([python, "-c", PROBE], "an installed package cannot be imported", "install what its error asks for")
    site = venv / "lib" / f"python{version}" / "site-packages"
    (site / "gfe_companion.pth").write_text(f"{root}\n", encoding="utf-8")
    (venv / "stamp").write_text(_stamp(root), encoding="utf-8")


def _mend(root: Path, held: IO[str], wrong: dict[str, str]) -> None:
    """Put back the packages that are ``wrong``; all others stay as they are, whatever pip can have now."""
    venv, python = root / ".venv", _python(root)
    if not any(venv.glob("lib/python3.*/site-packages/pip/__main__.py")):
        return _make(root, held)
    say(f"the environment is damaged ({in_short(wrong)}): putting that back (log: build/environment.log)")
    for info in venv.glob("lib/python3.*/site-packages/*.dist-info"):
        if plain(info.name.partition("-")[0]) in map(plain, wrong):
            shutil.rmtree(info)
    wanted = [f"{name}=={version}" for name, version, *_ in _pins(root) if name in wrong]
    with _log(root) as log:
        step = _Steps(log, held)
        step([python, *PIP, "--no-deps", "--ignore-installed", *wanted], "pip could not put back what is damaged", LOOK)
        step([python, "-c", PROBE], "an installed package cannot be imported", "remove .venv")
    if left := _wrong(root):
        raise Stop(f"the environment stays damaged ({in_short(left)}): remove .venv, then call again", Exit.ENVIRONMENT)
    return None


def _log(root: Path) -> IO[str]:
    return (root / "build" / "environment.log").open("w+", encoding="utf-8", errors="replace")


class _Steps:
    """Runs commands with their output in the log; the first that fails stops everything in one line."""

    def __init__(self, log: IO[str], held: IO[str]) -> None:
        self.log, self.held = log, held
        unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIREMENT")
        self.environ = {name: value for name, value in os.environ.items() if name not in unwanted} | {"PIP_USER": "0"}

    def __call__(self, command: Sequence[str | Path], failure: str, remedy: str) -> None:
        start = self.log.seek(0, os.SEEK_END)
        # The child inherits the lock: should this process be killed, no other call touches .venv before the child ends.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, env=self.environ,
            pass_fds=(self.held.fileno(),),
        )  # fmt: skip
        if done.returncode == 0:
            return
        self.log.seek(start)
        lines = [line.strip() for line in self.log if line.strip()] or [f"exit status {done.returncode}"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        reason = reason.removeprefix("ERROR: ")[:200].rstrip(".")
        message = f"{failure} ({reason}): {remedy}, then call again; all that was said is in build/environment.log"
        raise Stop(message, Exit.ENVIRONMENT)
