"""The environment is made once, whole, by one call at a time, and its lists of packages agree with one another."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from gfe_companion.cli import environment, inspection
from gfe_companion.cli.environment import MARKER, Exit, Stop, ensure

ROOT = Path(__file__).resolve().parents[2]
MODULE = {"beautifulsoup4": "bs4", "pillow": "PIL", "ipython": "IPython", "scikit-learn": "sklearn", "pyyaml": "yaml",
          "pytest-xdist": "xdist", "jupyter-client": "jupyter_client"}  # fmt: skip
OPTIONAL = {"dask-jobqueue", "distributed"}  # of the extra `cluster`, which is imported only where it is asked for
PEERS = {"jax", "optimistix"}  # of the extra `peers`, which is no part of the environment
BROWSER = {"axe-playwright-python", "playwright"}  # nor is the extra `browser`
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
        assert (self.root / ".venv" / MARKER).is_file(), "what is interrupted now must be known as ours"
        assert "--clear" not in command, "it would take the marker"
        if step == "venv":
            python = self.root / ".venv" / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.unlink(missing_ok=True)
            python.symlink_to(sys.executable)
            (self.root / ".venv" / "pyvenv.cfg").touch()
            self.site.mkdir(parents=True, exist_ok=True)
            time.sleep(0.05)  # long enough for another call to come by
        if step == "pip" and step not in self.failure:
            whole = command[command.index("-r") + 1].read_text().split() if "-r" in command else command
            for name, version in (pin.split("==") for pin in whole if "==" in str(pin)):
                self.install(name, version)
        answer = self.failure.get(step)
        if isinstance(answer, BaseException):
            raise answer
        stdout.write(answer or "")
        stdout.flush()
        return subprocess.CompletedProcess(command, 1 if answer else 0)

    def install(self, name: str, version: str) -> None:
        info = self.site / f"{name}-{version}.dist-info"
        for path, text in (
            (info / "METADATA", ""),
            (info / "INSTALLER", "pip\n"),
            (self.site / f"{name}.py", "one = 1\n"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (info / "RECORD").write_text(f"{name}.py,sha256=abc,8\n{info.name}/METADATA,,0\n{info.name}/RECORD,,\n")

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
    (root / ".venv" / "pyvenv.cfg").unlink()  # without which its Python is that of the system
    ensure(root)
    assert installer.steps == 4 * WHOLE


def test_a_comment_in_the_lock_costs_nothing(root, installer):
    ensure(root)
    (root / "requirements.lock").write_text("# a comment\ntorch==1\n")
    ensure(root)
    assert installer.steps == WHOLE


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
def test_interrupted_first_installation_is_repaired(root, installer, step):
    installer.failure = {step: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        ensure(root)
    assert not (root / ".venv" / "stamp").exists()
    installer.failure, installer.steps = {}, []
    (root / ".venv" / "half-made").touch()
    ensure(root)
    assert installer.steps == WHOLE and not (root / ".venv" / "half-made").exists()


def test_interrupted_clearing_is_repaired_and_links_are_not_followed(root, installer, tmp_path, monkeypatch):
    ensure(root)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (root / ".venv" / "link").symlink_to(tmp_path / "kept")
    (root / "requirements.lock").write_text("torch==2\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(environment.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        ensure(root)
    assert (root / ".venv" / MARKER).is_file() and not (root / ".venv" / "stamp").exists()
    ensure(root)
    assert installer.steps == 2 * WHOLE
    assert not (root / ".venv" / "link").is_symlink() and (tmp_path / "kept" / "file").exists()


def lose(installer: Installer, kind: str) -> None:
    """Damage the package torch of the environment."""
    info = installer.site / "torch-1.dist-info"
    if kind == "package and record":
        shutil.rmtree(info)
        (installer.site / "torch.py").unlink()
    elif kind == "package alone":
        (installer.site / "torch.py").unlink()
    elif kind == "record alone":
        (info / "RECORD").unlink()
    elif kind == "cut short":
        (installer.site / "torch.py").write_text("one")
    elif kind == "versioned library":
        (info / "RECORD").write_text("torch.libs/libgomp-a34b.so.1,sha256=abc,8\n")
    elif kind == "data":
        (info / "RECORD").write_text('"torch/data, more/mnist.csv.gz",sha256=abc,8\n')
    elif kind == "empty record":
        (info / "RECORD").write_text("")
    elif kind == "other version":
        info.rename(info.with_name("torch-0.9.dist-info"))


DAMAGE = (
    "package and record", "package alone", "record alone", "cut short", "empty record", "other version",
    "versioned library", "data",
)  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_packages_are_put_back(root, installer, capsys, kind):
    (root / "requirements.lock").write_text("numpy==2\ntorch==1\n")
    ensure(root)
    (installer.site / "pip").mkdir()
    (installer.site / "pip" / "__main__.py").touch()
    kept, _ = (installer.site / "numpy.py").stat(), capsys.readouterr()
    lose(installer, kind)
    installer.steps = []
    ensure(root)
    assert installer.steps == ["pip", "probe"], "it is not made from nothing"
    assert (installer.site / "numpy.py").stat() == kept and (installer.site / "torch.py").read_text() == "one = 1\n"
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "torch" in err and "numpy" not in err
    ensure(root)
    assert installer.steps == ["pip", "probe"] and capsys.readouterr().err == ""


def test_what_cannot_be_put_back_is_told_and_the_rest_stays(root, installer):
    (root / "requirements.lock").write_text("numpy==2\ntorch==1\n")
    ensure(root)
    (installer.site / "pip").mkdir()
    (installer.site / "pip" / "__main__.py").touch()
    lose(installer, "package alone")
    installer.failure = {"pip": "ERROR: no network\n"}
    for _ in range(2):
        with pytest.raises(Stop, match="no network.*check the network") as stop:
            ensure(root)
        assert stop.value.code == Exit.ENVIRONMENT and "\n" not in str(stop.value)
        assert (installer.site / "numpy.py").exists() and (root / ".venv" / "stamp").exists()
    installer.failure = {"pip": ""}  # pip says that it is done, and has done nothing
    with pytest.raises(Stop, match="stays damaged.*remove .venv"):
        ensure(root)


def test_an_environment_without_pip_is_made_from_nothing(root, installer):
    ensure(root)
    lose(installer, "package and record")
    ensure(root)
    assert installer.steps == 2 * WHOLE


def test_empty_folder_is_filled(root, installer):
    (root / ".venv").mkdir()
    ensure(root)
    assert installer.steps == WHOLE


def test_stamp_of_an_earlier_version_counts_as_a_marker(root, installer):
    ensure(root)
    (root / ".venv" / MARKER).unlink()
    ensure(root)
    assert installer.steps == WHOLE
    (root / ".venv" / "stamp").write_text(f"{'0' * 32}\n/usr/bin/python3.11\n/some/other place\n")
    ensure(root)
    assert installer.steps == 2 * WHOLE and (root / ".venv" / MARKER).is_file()


@pytest.mark.parametrize("text", ["", "mine\n", f"{'0' * 32}\n/usr/bin/python3.11\n", f"{'0' * 32}\nhere\nthere\n"])
def test_other_stamp_does_not(root, text):
    (root / ".venv").mkdir()
    (root / ".venv" / "stamp").write_text(text)
    with pytest.raises(Stop):
        ensure(root)
    assert files(root / ".venv").keys() == {root / ".venv" / "stamp"} and (root / ".venv" / "stamp").read_text() == text


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


def files(folder: Path) -> dict[Path, object]:
    """Everything in a folder: what each link points to, what each file holds, and when it was written."""
    return {
        path: os.readlink(path)
        if path.is_symlink()
        else path.is_file() and (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture(params=["folder", "link"])
def foreign(request, root, tmp_path, monkeypatch):
    """A virtual environment made by hand that sees this one's packages, in place of `.venv` or linked to it."""
    venv = root / ".venv" if request.param == "folder" else tmp_path / "foreign"
    python = Path(sys._base_executable).resolve()
    site = venv / Installer(root).site.relative_to(root / ".venv")
    site.mkdir(parents=True)
    (site / "these.pth").write_text(sysconfig.get_path("purelib"))
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(python)
    (venv / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    (venv / "mine").write_text("cannot be made again")
    if request.param == "link":
        (root / ".venv").symlink_to(venv)
        (venv / MARKER).touch()  # the project's own, but of another repository, say
    monkeypatch.setattr(inspection, "PROBE", "import packaging, pytest")  # the whole of it takes seconds
    (root / "requirements.lock").write_text(f"packaging=={importlib.metadata.version('packaging')}\n")
    return venv


def test_foreign_environment_is_used_as_it_is(root, foreign, monkeypatch, capsys):
    asked, ask, before = [], inspection.ask, files(foreign)
    monkeypatch.setattr(inspection, "ask", lambda *command: (asked.append(command[1]), ask(*command))[1])
    for _ in range(2):
        assert ensure(root) == root / ".venv" / "bin" / "python"
    assert asked == [inspection.ACCOUNT, inspection.PROBE, inspection.ACCOUNT], "the slow imports are tried once"
    with (root / "requirements.lock").open("a") as lock:
        lock.write(f'pytest=={pytest.__version__}\nnothing==1 ; sys_platform == "amiga"\n')
    ensure(root)
    assert asked[3:] == [inspection.ACCOUNT, inspection.PROBE]
    assert files(foreign) == before and capsys.readouterr().err == ""


def replace_python(venv: Path, script: str) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n")
    (venv / "bin" / "python").chmod(0o755)


PIP = (
    r"run \S+/\.venv/bin/python -m pip install --ignore-installed --no-deps -r \S+/requirements\.lock, or move it away"
)
FAULTS = {
    "other version": (
        lambda venv, lock: lock.write_text("packaging==0.1\n"),
        rf"packaging is [\d.]+, not 0\.1\): {PIP}",
    ),
    "missing": (lambda venv, lock: lock.write_text("nothing==1\n"), rf"\(nothing 1 is missing\): {PIP}"),
    "many": (
        lambda venv, lock: lock.write_text("".join(f"no{i}==1\n" for i in range(9))),
        r"no2 1 is missing, 6 more\)",
    ),
    "import": (lambda venv, lock: (venv / "pyvenv.cfg").touch(), r"No module named 'of_that_name'\): .*move it away"),
    "no python": (
        lambda venv, lock: (venv / "bin" / "python").unlink(),
        r"No such file .*bin/python.*\): move it away",
    ),
    "not its own": (
        lambda venv, lock: (venv / "pyvenv.cfg").unlink(),
        r"its bin/python is that of /.*\): move it away",
    ),
    "breaks": (lambda venv, lock: replace_python(venv, BROKEN), r"No module named 'torch'\): move it away"),
    "silent": (lambda venv, lock: replace_python(venv, "exit 0"), r"does not answer as Python does\): move it away"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_foreign_environment_that_lacks_something_is_refused(root, foreign, monkeypatch, fault):
    spoil, sentence = FAULTS[fault]
    spoil(foreign, root / "requirements.lock")
    if fault == "import":
        monkeypatch.setattr(inspection, "PROBE", "import of_that_name")
    before = files(foreign)
    for _ in range(2):
        with pytest.raises(Stop, match=sentence) as stop:
            ensure(root)
        assert stop.value.code == Exit.ENVIRONMENT == 3 and "\n" not in str(stop.value)
        assert "not made by this project" in str(stop.value) and "call again" in str(stop.value)
    assert files(foreign) == before


def test_python_that_is_too_old_says_so(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit, match=r"3\.10.*3\.11"):
        exec(inspection.ACCOUNT, {})


@pytest.mark.parametrize("kind", ["nothing", "file", "itself", None])
def test_link_to_no_folder_and_plain_file_are_left(root, installer, tmp_path, kind):
    venv, file = root / ".venv", tmp_path / "file"
    file.write_text("mine")
    if kind:
        venv.symlink_to(venv if kind == "itself" else tmp_path / kind)
    else:
        venv.write_text("mine")
    before = files(tmp_path)
    with pytest.raises(Stop, match="link to .*where there is no folder" if kind else "not a folder") as stop:
        ensure(root)
    assert stop.value.code == Exit.ENVIRONMENT and "move it away" in str(stop.value)
    assert files(tmp_path) == before and installer.steps == []


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


@pytest.mark.parametrize(("version", "platform"), [("3.11", "linux"), ("3.12", "linux"), ("3.13", "darwin")])
def test_every_line_of_the_lock_is_understood(version, platform):
    text, facts = (ROOT / "requirements.lock").read_text(), {"python_version": version, "sys_platform": platform}
    pins = inspection.PIN.findall(text)
    wrong = [*inspection.damaged_packages(pins, facts | {"path": []}).values()]
    lines = map(Requirement, re.findall(r"(?m)^[^#\n].*", text))
    needed = [line for line in lines if line.marker is None or line.marker.evaluate(facts)]
    assert wrong == [f"{line.name} {str(line.specifier)[2:]} is missing" for line in needed]


def of_conda() -> dict[str, str]:
    """Name -> version of every package of environment.yml, by its name on PyPI."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert entries[:2] == ["python=3.11", "pip"] and entries[-1]["pip"][-1] == "-e ."
    pairs = [entry.replace("==", "=").split("=") for entry in entries[2:-1] + entries[-1]["pip"][:-1]]
    return {"torch" if name == "pytorch" else plain(name): version for name, version in pairs}


def of_project() -> set[str]:
    """Name of every package that pyproject.toml asks for, but for the peers of `bench` and a browser."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras.pop("peers")) == PEERS
    assert {Requirement(line).name for line in extras.pop("browser")} == BROWSER
    return {*project["dependencies"], *chain.from_iterable(extras.values())}


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
    folders = ("gfe_core", "gfe_companion", "tests")
    sources = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        sources += [re.sub(r"(?m)^\s*[%!].*$", "pass", "".join(cell["source"])) for cell in cells]
    local = {path.stem for path in (ROOT / "tests").rglob("*") if path.suffix in ("", ".py")} | set(folders)
    direct = {MODULE.get(name, name) for name in of_project() - OPTIONAL} | {"packaging"}  # pytest's own, for this file
    brought = {"fontTools", "jsonschema"}  # by matplotlib and JupyterLab
    unasked = {name.replace("-", "_") for name in OPTIONAL | PEERS | BROWSER} | brought
    foreign = set().union(*map(imported, sources)) - set(sys.stdlib_module_names) - local - unasked
    assert "torch" in foreign
    assert foreign <= direct, f"not in pyproject.toml, environment.yml: {sorted(foreign - direct)}"
    assert imported(environment.PROBE) - set(sys.stdlib_module_names) | {"torchvision", "packaging"} == direct
