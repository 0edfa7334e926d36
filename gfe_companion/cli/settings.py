"""What of the caller's own settings counts, settled at the door before anything starts. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gfe_companion.cli.environment import Exit, Stop

# What a caller may tell Python. Everything else that begins with PYTHON would change what runs, or how it reads text.
OF_PYTHON = {"PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED"}
# Kernels, templates and settings of other installations, and where figures would be drawn.
OF_OTHERS = {
    "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_CONFIG_DIR", "JUPYTER_NO_CONFIG", "MPLBACKEND",
    "PYTEST_ADDOPTS", "PYTEST_PLUGINS",
}  # fmt: skip
# How those of progress bars, of pools of processes and of PyTorch begin; some of the last are about memory alone.
OF_LIBRARIES = ("TQDM_", "JOBLIB_", "LOKY_", "TORCH", "PYTORCH_", "ATEN_", "NVIDIA_TF32")
OF_MEMORY = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}


def settled(environ: Mapping[str, str], root: Path) -> dict[str, str]:
    """``environ`` without what would make results depend on somebody's settings, and with what makes them equal.

    Text is UTF-8 whatever the locale says; packages are this environment's and the project's alone; Matplotlib starts
    from its own defaults, with a list of fonts of its own where that can be written. Settling twice changes nothing.
    """
    home = Path(environ.get("GFE_HOME") or root)
    kept = {
        name: value
        for name, value in environ.items()
        if name in OF_PYTHON | OF_MEMORY or not (name in OF_OTHERS or name.startswith(("PYTHON", *OF_LIBRARIES)))
    }
    fixed = {
        "PYTHONPATH": str(root),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "MATPLOTLIBRC": os.devnull,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if os.access(home, os.W_OK):
        fixed["MPLCONFIGDIR"] = str(home / "build" / "matplotlib")
    return kept | fixed


def absolute(text: str, source: str) -> Path:
    """The path that ``source`` names, from here or, with ~, from a home folder. Raises Stop (USAGE)."""
    try:
        path = Path(text).expanduser().absolute()
        str(path).encode()  # as it is written into notebooks
        return path
    except UnicodeEncodeError as error:
        raise Stop(f"{source}={text!a} is not UTF-8, as text has to be: name another folder", Exit.USAGE) from error
    except (RuntimeError, OSError) as error:
        raise Stop(f"{source}={text} names no folder ({error}); give the whole path", Exit.USAGE) from error


def settle_home() -> None:
    """Make the folder that GFE_HOME names absolute, as kernels do not run where the command was called."""
    if given := os.environ.get("GFE_HOME"):
        os.environ["GFE_HOME"] = str(absolute(given, "GFE_HOME"))


def leave() -> None:
    """Go where nothing is of the caller's: Matplotlib would read settings from the folder where it is imported."""
    os.chdir("/")


def require_writable(folder: Path) -> None:
    """Make ``folder`` where it is missing and write a file there. Raises Stop (USAGE) where that cannot be."""
    remedy = "make it writable, or let GFE_HOME name a folder that is"
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        said = f"results cannot be written to {folder} ({error.strerror or error}); {remedy}"
        raise Stop(said, Exit.USAGE) from error


def set_environ(wanted: dict[str, str]) -> None:
    """Make ``wanted`` the environment variables of this process, and of all that it starts."""
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ |= wanted
