"""What an environment has and lacks: asked of its own Python, with nothing written there. Standard library only."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# torchvision is looked for and not imported: beside a torch without CUDA its import needs a cure (datasets/files.py).
PROBE = """
import importlib.util
import filelock, hypothesis, ipykernel, IPython, ipywidgets, joblib, jupyterlab, latex2mathml, matplotlib, mlxtend, mypy
import nbclient, nbconvert, nbformat, numpy, pandas, papermill, PIL, psutil, pytest, ruff, scipy, seaborn, sklearn
import threadpoolctl, torch, torchdiffeq, tqdm, traitlets, xdist, yaml
if importlib.util.find_spec("torchvision") is None:
    raise ModuleNotFoundError("No module named 'torchvision'")
"""

# What an environment tells of itself: its Python, and the version, or null, of each package that the arguments name.
ACCOUNT = """
import sys
if sys.version_info < (3, 11):
    sys.exit("its Python is %d.%d, and 3.11 is the oldest that will do" % sys.version_info[:2])
import importlib.metadata, json
def version(name):
    try:
        return importlib.metadata.version(name)
    except Exception:
        return None
facts = {"python_version": "%d.%d" % sys.version_info[:2], "sys_platform": sys.platform, "prefix": sys.prefix}
print(json.dumps([facts, {name: version(name) for name in sys.argv[1:]}]))
"""

# A line of requirements.lock: name, version, and the condition's variable and value, if it has one.
PIN = re.compile(r'^([\w.-]+)==([^\s;]+)(?: ; (\w+) == "([^"]*)")?$', re.MULTILINE)


class Fault(NamedTuple):
    """Why an environment cannot be used, and what to do about it."""

    reason: str
    remedy: str


def ask(python: Path, script: str, *arguments: str) -> tuple[str, str]:
    """Run a script in another environment, writing nothing there: the last line it printed, and why it failed or ""."""
    environ = os.environ | {"PYTHONPATH": "", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command: list[str | Path] = [python, "-c", script, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environ)
    except OSError as error:
        return "", str(error)
    said = done.stdout if done.returncode == 0 else done.stderr
    last = (said.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return (last, "") if done.returncode == 0 else ("", last)


def find_fault(root: Path) -> Fault | None:
    """Why the `.venv` in this root cannot be used, or None if it has what is needed.

    Its Python and the versions of its packages are asked for at each call, in a quarter of a second. The imports take
    seconds, so they are tried once, and again when the answer differs from that in build/environment.checked.
    """
    venv, lock, checked = root / ".venv", root / "requirements.lock", root / "build" / "environment.checked"
    python, move = venv / "bin" / "python", "move it away to have one made"
    if not venv.is_dir():
        link = f"it is a link to {os.readlink(venv)}, where there is no folder" if venv.is_symlink() else ""
        return Fault(link or "it is not a folder", move)
    pins = PIN.findall(lock.read_text())
    said, reason = ask(python, ACCOUNT, *(name for name, *_ in pins))
    if reason:
        return Fault(reason, move)
    try:
        facts, versions = json.loads(said)
    except ValueError:
        return Fault("its bin/python does not answer as Python does", move)
    if Path(facts["prefix"]).resolve() != venv.resolve():  # to start again in it would never end
        return Fault(f"its bin/python is that of {facts['prefix']}", move)
    if wrong := wrong_packages(pins, facts, versions):
        more = [f"{len(wrong) - 3} more"] if len(wrong) > 3 else []
        return Fault(", ".join(wrong[:3] + more), f"run {python} -m pip install -r {lock}, or {move}")
    answer = f"{said}\n{lock.read_text()}{PROBE}"
    if not (checked.is_file() and checked.read_text() == answer):
        _, reason = ask(python, PROBE)
        if reason:
            return Fault(reason, f"repair that package, or {move}")
        with suppress(OSError):  # they are tried again next time
            checked.parent.mkdir(exist_ok=True)
            checked.write_text(answer)
    return None


def wrong_packages(pins: list[tuple[str, ...]], facts: dict[str, str], versions: dict[str, str | None]) -> list[str]:
    """What is to be said of each package that the lock asks for here and that is missing or at another version."""
    wrong = []
    for name, version, variable, value in pins:
        if variable and facts[variable] != value:
            continue
        found = versions[name]
        if found is None:
            wrong.append(f"{name} {version} is missing")
        elif found.split("+")[0] != version:  # 2.13.0+cpu is a build of 2.13.0
            wrong.append(f"{name} is {found}, not {version}")
    return wrong
