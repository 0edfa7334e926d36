"""A small project of its own to be called as readers call it, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """\
profile: str = "quick"
data: str = "auto"
seeds: str = ""
jobs: int = 0
device: str = "auto"
do: str = ""
wait: float = 0.0  # at least 0
"""
FIRST = (
    "import os, signal, sys, time\nfrom pathlib import Path",
    "exec(do)",
    "ends = time.time() + wait\nwhile time.time() < ends:\n    pass",
    "import locale\nprint('kernel:', sys.executable, sys.flags.utf8_mode, Path(os.environ['GFE_HOME']).is_absolute())",
)


class Project:
    """A copy of the project in ``root``, with two notebooks; ``home`` in ``folder`` holds what is written."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.home, self.temporary = root, folder / "home", folder / "t"
        self.temporary.mkdir()
        shutil.rmtree(root / "notebooks", ignore_errors=True)
        (root / "notebooks").mkdir()
        self.add("01_one", *FIRST)
        self.add("02_two", "print('two')")

    def add(self, name: str, *sources: str) -> None:
        cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
        cells += [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, self.root / "notebooks" / f"{name}.ipynb")

    def environ(self, **changed: str | None) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("GFE_", "PYTHON"))}
        environ |= {"GFE_HOME": str(self.home), "TMPDIR": str(self.temporary), "CONDA_DEFAULT_ENV": ""}
        return {name: value for name, value in (environ | changed).items() if value is not None}

    def start(self, *flags: str, script: str = "run_all.sh", **changed) -> subprocess.Popen:
        """The command on its way, in a process group of its own."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.root} | changed.pop("options", {})
        argv = [str(self.root / script), "--profile", "smoke", "--data", "embedded", *flags]
        return subprocess.Popen(
            argv, env=self.environ(**changed), text=True, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )

    def call(self, *flags: str, code: int = 0, **changed) -> str:
        """What the command says on both streams, once its exit code is seen to be ``code``."""
        started = self.start(*flags, **changed)
        out, err = started.communicate(timeout=120)
        said = (out or "") + (err or "")
        assert started.returncode == code, said
        assert "Traceback" not in said, said
        return said

    def printed(self, name: str = "01_one") -> str:
        """What the cells of an executed notebook printed."""
        notebook = nbformat.read(self.home / "build" / "smoke" / f"{name}.ipynb", as_version=4)
        return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))

    def interrupted(self, number: signal.Signals, *flags: str) -> tuple[int, float, str]:
        """Call it and send the signal while a cell runs: the exit code, the seconds it took, what it said."""
        started = self.start(*flags)
        waiting = self.home / "build" / "smoke" / ".01_one.ipynb"
        ends = time.time() + 60
        while not (waiting.exists() and "ends = time" in waiting.read_text()) and time.time() < ends:
            time.sleep(0.1)
        time.sleep(1)
        sent = time.time()
        started.send_signal(number)
        out, err = started.communicate(timeout=30)
        return started.returncode, time.time() - sent, out + err


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The scripts and packages beside a link to this environment."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("gfe_core", "gfe_companion"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_all.sh", "run_tests.sh", "requirements.lock", "environment.yml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".venv").symlink_to(sys.prefix)
    return root


@pytest.fixture
def project(root, tmp_path):
    return Project(root, tmp_path)
