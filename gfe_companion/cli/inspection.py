"""What an environment has and lacks: asked of its own Python, with nothing written there. Standard library only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# torchvision is looked for and not imported: beside a torch without CUDA its import needs a cure (see download.py).
PROBE = """
import importlib.util, os
os.chdir("/")  # where nothing of the caller's could be imported or read in their place
import anywidget, bs4, filelock, hypothesis, ipykernel, IPython, ipywidgets, jinja2, joblib, jupyter_client
import jupyterlab, latex2mathml, matplotlib, mistune, mlxtend, mypy, nbclient, nbconvert, nbformat, numpy, pandas
import papermill, PIL, psutil, pygments, pytest, ruff, scipy, seaborn, sklearn, threadpoolctl, torch, torchdiffeq
import tqdm, traitlets, xdist, yaml
if importlib.util.find_spec("torchvision") is None:
    raise ModuleNotFoundError("No module named 'torchvision'")
"""

# What an environment tells of itself: its Python, and where that looks for packages.
ACCOUNT = """
import sys
if sys.version_info < (3, 11):
    sys.exit("its Python is %d.%d, and 3.11 is the oldest that will do" % sys.version_info[:2])
import json
facts = {"python_version": "%d.%d" % sys.version_info[:2], "sys_platform": sys.platform, "prefix": sys.prefix}
facts["path"] = [place for place in sys.path if place]
print(json.dumps(facts))
"""

# Files of a package that it cannot do without: modules, compiled libraries, fonts, data and templates.
NEEDED = re.compile(r"\.(py|so(\.\d+)*|dylib|ttf|csv|gz|json|j2|css|mplstyle)$|/matplotlibrc$")

# A line of requirements.lock: name, version, and the condition's variable and value, if it has one.
PIN = re.compile(r'^([\w.-]+)==([^\s;]+)(?: ; (\w+) == "([^"]*)")?$', re.MULTILINE)


class Fault(NamedTuple):
    """Why an environment cannot be used, and what to do about it."""

    reason: str
    remedy: str


def facts_of(venv: Path) -> dict:
    """The facts of :data:`ACCOUNT` about an environment of this project's making, read from its folder alone."""
    sites = sorted(venv.glob("lib/python3.*/site-packages"))
    version = sites[0].parent.name.removeprefix("python") if sites else ""
    return {"python_version": version, "sys_platform": sys.platform, "path": [str(site) for site in sites]}


def damaged_packages(pins: list[tuple[str, ...]], facts: dict) -> dict[str, str]:
    """Of the packages that the lock asks for, those that are missing, at another version, or not whole: what is wrong.

    Read from what pip wrote down when it installed them: the files of each that are :data:`NEEDED` must be there, at
    their sizes. Takes a fifth of a second for all.
    """
    folders: dict[str, Path] = {}
    for place in reversed(facts["path"]):
        folders |= {plain(info.name.partition("-")[0]): info for info in Path(place).glob("*.dist-info")}
    wrong = {}
    for name, version, variable, value in pins:
        if variable and facts[variable] != value:
            continue
        folder = folders.get(plain(name))
        found = folder.name.removesuffix(".dist-info").partition("-")[2].split("+")[0] if folder else ""
        if folder is None:
            wrong[name] = f"{name} {version} is missing"
        elif found != version:  # 2.13.0+cpu is a build of 2.13.0
            wrong[name] = f"{name} is {found}, not {version}"
        elif lost := _lost(folder):
            wrong[name] = f"{name} has lost {lost}"
    return wrong


def plain(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _lost(folder: Path) -> str:
    """The first file of the package described in ``folder`` that it needs and is gone or of another size, or ""."""
    site, installer = f"{folder.parent}{os.sep}", folder / "INSTALLER"
    if not (folder / "METADATA").is_file():
        return "METADATA"
    try:
        if installer.exists() and installer.read_text(encoding="utf-8").strip() not in ("pip", "uv"):
            return ""  # others write down other things
        lines = (folder / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "RECORD"
    for line in lines:
        path, _, size = line.rsplit(",", 2) if line.count(",") >= 2 else (line, "", "")
        path = path.strip('"')
        if size and NEEDED.search(path):
            try:
                if os.stat(site + path).st_size != int(size):
                    return path
            except (OSError, ValueError):
                return path
    return "" if lines else "RECORD"


def ask(python: Path, script: str, *arguments: str) -> tuple[str, str]:
    """Run a script in another environment, writing nothing there: the last line it printed, and why it failed or ""."""
    environ = os.environ | {"PYTHONPATH": "", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command: list[str | Path] = [python, "-c", script, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, env=environ
        )
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
    pins = PIN.findall(lock.read_text(encoding="utf-8"))
    said, reason = ask(python, ACCOUNT)
    if reason:
        return Fault(reason, move)
    try:
        facts = json.loads(said)
    except ValueError:
        return Fault("its bin/python does not answer as Python does", move)
    if Path(facts["prefix"]).resolve() != venv.resolve():  # to start again in it would never end
        return Fault(f"its bin/python is that of {facts['prefix']}", move)
    if wrong := damaged_packages(pins, facts):
        remedy = f"run {python} -m pip install --ignore-installed --no-deps -r {lock}, or {move}"
        return Fault(in_short(wrong), remedy)
    answer = f"{said}\n{pins}{PROBE}"
    if not (checked.is_file() and checked.read_text(encoding="utf-8") == answer):
        _, reason = ask(python, PROBE)
        if reason:
            return Fault(reason, f"repair that package, or {move}")
        with suppress(OSError):  # they are tried again next time
            checked.parent.mkdir(exist_ok=True)
            checked.write_text(answer, encoding="utf-8")
    return None


def in_short(wrong: dict[str, str]) -> str:
    """What is wrong with the first three packages, and with how many more something is."""
    more = [f"{len(wrong) - 3} more"] if len(wrong) > 3 else []
    return ", ".join([*wrong.values()][:3] + more)
