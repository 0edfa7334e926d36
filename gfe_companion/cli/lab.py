"""JupyterLab on the reader's own copies of the notebooks, so that saving there changes nothing that is published.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from gfe_companion.cli.environment import Exit, Stop

COPIED = ".copied.json"  # what each notebook was when it was copied
HERE = "--ServerApp.ip=localhost"


def start(python: Path, root: Path, arguments: list[str]) -> None:
    """Become JupyterLab on the copies, on this machine alone and with a token; ``arguments`` are its own, and win.

    Raises Stop (USAGE) where JupyterLab would refuse to run as root.
    """
    if os.geteuid() == 0 and not any(argument.startswith(("--allow-root", "--help")) for argument in arguments):
        raise Stop(
            "you are root, as whom JupyterLab does not run unless it is told to, since its terminals and notebooks may "
            "then change anything: in a container, call ./run_all.sh --lab -- --allow-root",
            Exit.USAGE,
        )
    folder = copies(root)
    where = [] if any(argument.startswith(("--ip", "--ServerApp.ip")) for argument in arguments) else [HERE]
    environ = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / ".jupyter"), "IPYTHONDIR": str(folder / ".ipython")}
    if not environ.get("JUPYTER_TOKEN"):
        environ.pop("JUPYTER_TOKEN", None)  # an empty one would let anybody in
    command = [str(python), "-P", "-m", "jupyterlab", *where, *arguments, str(folder)]
    os.execve(python, command, environ)


def copies(root: Path) -> Path:
    """The folder `lab`, where each notebook is that was not there yet; what is there is never overwritten."""
    folder = Path(os.environ.get("GFE_HOME") or root) / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    copied, older = _read(folder / COPIED), []
    for path in sorted((root / "notebooks").glob("[!.]*")):
        if path.is_dir():
            continue
        mine, sum_ = folder / path.name, hashlib.sha256(path.read_bytes()).hexdigest()
        if not os.path.lexists(mine):
            part = folder / f".{path.name}.part"
            shutil.copyfile(path, part)
            part.rename(mine)
            copied[path.name] = sum_
        elif copied.get(path.name, sum_) != sum_:
            older.append(path.name)
    part = folder / f"{COPIED}.part"
    part.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    part.replace(folder / COPIED)
    _say(f"JupyterLab opens your own copies in {folder}; delete one there to have it made anew, or all to reset")
    if older:
        _say(f"newer than your copies: {', '.join(older)}")
    return folder


def _read(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
