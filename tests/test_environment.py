"""The environment is made once, whole, by one call at a time, and its lists of packages agree with one another."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from gfe_core.companion import environment
from gfe_core.companion.environment import Exit, Stop, ensure

ROOT = Path(__file__).resolve().parents[1]
MODULE = {"pillow": "PIL", "ipython": "IPython", "scikit-learn": "sklearn", "pyyaml": "yaml", "pytest-xdist": "xdist"}
OPTIONAL = {"dask", "distributed"}  # used only where the reader has them
WHOLE = ["venv", "pip", "probe"]
BROKEN = "echo \"No module named 'torch'\" >&2; exit 1"


class Installer:
    """Stands in for subprocess.run: lays out a virtual environment, installs nothing, can fail at a step."""

    def __init__(self, root: Path) -> None:
        self.root, self.steps, self.failure = root, [], {}

    def __call__(self, command, stdout, pass_fds, **_):
        step = "probe" if "-c" in command else command[2]
        self.steps.append(step)
        assert pass_fds, "the child must hold the lock too"
        if step == "venv":
            python = self.root / ".venv" / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.unlink(missing_ok=True)
            python.symlink_to(sys.executable)
            self.site.mkdir(parents=True, exist_ok=True)
            time.sleep(0.05)  # long enough for another call to come by
        answer = self.failure.get(step)
        if isinstance(answer, BaseException):
            raise answer
        stdout.write(answer or "")
        stdout.flush()
        return subprocess.CompletedProcess(command, 1 if answer else 0)

    @property
    def site(self) -> Path:
        return self.root / ".venv" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of nothing but a lock and an environment.yml; no conda environment is active."""
    monkeypatch.setenv("CONDA_PREFIX", "")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "requirements.lock").write_text("torch==1\n")
    (folder / "environment.yml").write_text("# a comment\nname: gfe-companion\n")
    return folder


@pytest.fixture
def installer(root, monkeypatch):
    stand_in = Installer(root)
    monkeypatch.setattr(environment.subprocess, "run", stand_in)
    return stand_in


def test_made_once_and_says_so(root, installer, capsys):
    assert ensure(root) == root / ".venv" / "bin" / "python"
    assert installer.steps == WHOLE
    assert hashlib.md5(b"torch==1\n").hexdigest() in (root / ".venv" / "stamp").read_text()
    assert (installer.site / "gfe_companion.pth").read_text() == f"{root}\n"
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "once" in said.err and "build/environment.log" in said.err
    assert ensure(root) == root / ".venv" / "bin" / "python"
    assert installer.steps == WHOLE and capsys.readouterr().err == ""


def test_made_again_when_the_lock_changes_or_its_python_is_gone(root, installer):
    ensure(root)
    (root / "requirements.lock").write_text("torch==2\n")
    ensure(root)
    (root / ".venv" / "bin" / "python").unlink()
    ensure(root)
    assert installer.steps == 3 * WHOLE


def test_made_again_when_the_repository_moves(root, installer):
    ensure(root)
    installer.root = root.rename(root.with_name("elsewhere"))
    assert ensure(installer.root) == installer.root / ".venv" / "bin" / "python"
    assert installer.steps == 2 * WHOLE
    assert (installer.site / "gfe_companion.pth").read_text() == f"{installer.root}\n"


@pytest.mark.parametrize("step", WHOLE)
def test_interrupted_installation_is_repaired(root, installer, step):
    ensure(root)
    (root / "requirements.lock").write_text("torch==2\n")
    installer.failure = {step: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        ensure(root)
    installer.failure, installer.steps = {}, []
    (root / "requirements.lock").write_text("torch==1\n")  # what the stamp said before: it must not count any more
    ensure(root)
    assert installer.steps == WHOLE


@pytest.mark.parametrize("step", WHOLE)
def test_failure_is_one_sentence_and_leaves_the_rest_in_the_log(root, installer, step):
    installer.failure = {step: "WARNING: retrying\nERROR: No matching distribution found for torch==1\nWARNING: bye\n"}
    with pytest.raises(Stop, match=r"No matching .* torch==1\).*call again.*build/environment.log") as stop:
        ensure(root)
    assert stop.value.code == Exit.ENVIRONMENT and "\n" not in str(stop.value)
    assert "WARNING: retrying" in (root / "build" / "environment.log").read_text()
    assert not (root / ".venv" / "stamp").exists()


def test_no_venv_module(root, installer, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(Stop, match=r"no venv module.*apt-get install python3\.\d+-venv") as stop:
        ensure(root)
    assert stop.value.code == Exit.ENVIRONMENT and "\n" not in str(stop.value) and installer.steps == []


def test_folder_without_a_lock(root, installer):
    (root / "requirements.lock").unlink()
    with pytest.raises(Stop, match="requirements.lock") as stop:
        ensure(root)
    assert stop.value.code == Exit.ENVIRONMENT


def test_two_calls_at_once_make_one(root, installer, capsys):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ensure, [root] * 4))
    assert installer.steps == WHOLE
    assert "waiting" in capsys.readouterr().err


def conda(monkeypatch, tmp_path: Path, script: str, name: str = "gfe-companion") -> Path:
    python = tmp_path / "conda" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    monkeypatch.setenv("CONDA_DEFAULT_ENV", name)
    return python


def test_conda_environment_is_used_when_whole(root, tmp_path, monkeypatch):
    python = conda(monkeypatch, tmp_path, "exit 0")
    assert ensure(root) == python
    assert not (root / ".venv").exists()


@pytest.mark.parametrize("script, name, lines", [(BROKEN, "gfe-companion", 1), ("exit 0", "base", 0)])
def test_other_conda_environment_is_not(root, tmp_path, monkeypatch, capsys, script, name, lines):
    with monkeypatch.context() as patch:
        patch.setattr(environment.subprocess, "run", Installer(root))
        ensure(root)
    capsys.readouterr()
    conda(monkeypatch, tmp_path, script, name)
    assert ensure(root) == root / ".venv" / "bin" / "python"
    err = capsys.readouterr().err
    assert err.count("\n") == err.count("No module named 'torch'") == lines


def test_probe_passes_here_and_fails_without_packages():
    whole = subprocess.run([sys.executable, "-c", environment.PROBE], capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", environment.PROBE], capture_output=True, text=True)
    assert bare.returncode == 1 and "No module named" in bare.stderr


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Name -> version of every line of the lock that counts here."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in pins)
    assert [pin.name for pin in pins] == sorted((pin.name for pin in pins), key=str.lower)
    return {plain(pin.name): str(pin.specifier)[2:] for pin in pins if pin.marker is None or pin.marker.evaluate()}


def of_conda() -> dict[str, str]:
    """Name -> version of every package of environment.yml, by its name on PyPI."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert entries[:2] == ["python=3.11", "pip"] and entries[-1]["pip"][-1] == "-e ."
    pairs = [entry.replace("==", "=").split("=") for entry in entries[2:-1] + entries[-1]["pip"][:-1]]
    return {"torch" if name == "pytorch" else name: version for name, version in pairs}


def of_project() -> set[str]:
    """Name of every package that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {*project["dependencies"], *project["optional-dependencies"]["dev"]}


def test_conda_has_the_versions_of_the_lock():
    assert of_conda() == {name: locked()[name] for name in of_conda()}
    assert of_conda().keys() == of_project()


def test_lock_is_closed_and_is_what_is_installed():
    lock = locked()
    for name in of_conda():
        assert importlib.metadata.version(name).split("+")[0] == lock[name], name
    for name in lock:
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                of_cuda = name == "torch" and re.match("nvidia|cuda|triton", needed.name)
                assert of_cuda or plain(needed.name) in lock, f"{name} needs {needed.name}"


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_import_is_a_direct_package_and_the_probe_looks_for_each():
    sources = [path.read_text() for folder in ("gfe_core", "tests") for path in (ROOT / folder).rglob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        sources += [re.sub(r"(?m)^\s*[%!].*$", "pass", "".join(cell["source"])) for cell in cells]
    local = {path.stem for path in (ROOT / "tests").glob("*.py")} | {"gfe_core", "tests"}
    direct = {MODULE.get(name, name) for name in of_project()} | {"packaging"}  # pytest's own, for this file
    foreign = set().union(*map(imported, sources)) - set(sys.stdlib_module_names) - local - OPTIONAL
    assert "torch" in foreign
    assert foreign <= direct, f"not in pyproject.toml, environment.yml: {sorted(foreign - direct)}"
    assert imported(environment.PROBE) - {"importlib"} | {"torchvision", "packaging"} == direct
