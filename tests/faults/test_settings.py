"""Somebody else's settings: whatever they say, the same Python runs, and the same figures come out."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest
from faults.conftest import FIRST
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gfe_companion.cli.settings import absolute, require_writable, settled
from gfe_companion.studies.drawing import style

ROOT = Path(__file__).resolve().parents[2]
# A process that outlives its notebook, and leaves a file where it is interrupted.
LEFT = """\
import os, subprocess, sys, time
program = "import os, time; os.chdir('/')\\ntry: time.sleep(9)"
program += "\\nexcept KeyboardInterrupt: open(os.environ['GFE_HOME'] + '/interrupted', 'w')"
subprocess.Popen([sys.executable, "-P", "-c", program])
time.sleep(0.5)"""


@pytest.mark.slow
def test_all_of_them_at_once(project, tmp_path):
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    other = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(other))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("import os; os._exit(3)")
    (tmp_path / "start.py").write_text("raise SystemExit(3)")
    (tmp_path / "rc").write_text("text.usetex: True\nbackend: no_such\n")
    site = tmp_path / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text("print('here')\nimport os\nos._exit(5)")
    here = tmp_path / "here"
    here.mkdir()
    for folder in (here, project.root / "notebooks"):  # where the caller is, and where somebody puts things
        (folder / "matplotlibrc").write_bytes(b"\xff\xfe")
        (folder / "torch.py").write_text("raise SystemExit(3)")
    project.add("01_one", *FIRST, "import torch, matplotlib.pyplot")
    project.call(
        "--only", "01", JUPYTER_PATH=str(tmp_path / "jupyter"), JUPYTER_DATA_DIR=str(tmp_path / "jupyter"),
        IPYTHONDIR=str(tmp_path / "ipython"), PYTHONSTARTUP=str(tmp_path / "start.py"), PYTHONHOME="/nowhere",
        PYTHONWARNINGS="error", PYTHONOPTIMIZE="2", PYTHONIOENCODING="ascii", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
        LC_ALL="C", MATPLOTLIBRC=str(tmp_path / "rc"), MPLBACKEND="no_such", HOME=str(tmp_path / "rc"),
        MPLCONFIGDIR="/proc/x", PYTHONHASHSEED="x", PYTHONMALLOC="x", PYTHONUSERBASE=str(tmp_path),
        TQDM_MININTERVAL="x", LOKY_MAX_CPU_COUNT="x", JOBLIB_START_METHOD="x", PYTORCH_JIT="x", TORCH_LOGS="x",
        GFE_HOME=str(project.home) + " {x} 'ü", options={"cwd": here},
    )  # fmt: skip
    project.home = project.home.with_name("home {x} 'ü")
    assert project.printed() == f"kernel: {project.root}/.venv/bin/python 1 True\n"


@pytest.mark.slow
def test_what_cells_started_is_not_interrupted_at_the_end(project):
    """The processes of a grid would say so aloud."""
    project.add("01_one", LEFT)
    project.call("--only", "01")
    assert not (project.home / "interrupted").exists()


@pytest.mark.parametrize("script", ["run_all.sh", "run_tests.sh"])
def test_the_folder_of_the_caller_is_gone(project, tmp_path, script):
    line = f"mkdir gone && cd gone && rmdir ../gone && {project.root / script} --help"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=project.environ())
    assert done.returncode == 2 and "go to another one (cd), then call this again" in done.stderr and not done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("home", ["./a/../mine", "~/mine"])
def test_a_relative_home_is_where_the_caller_is(project, tmp_path, home):
    project.call("--only", "01", GFE_HOME=home, HOME=str(tmp_path), options={"cwd": tmp_path})
    assert (tmp_path / "mine" / "build" / "smoke" / "01_one.ipynb").exists()
    executed = nbformat.read(tmp_path / "mine" / "build" / "smoke" / "01_one.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text.endswith("True\n"), "and the kernel is told so"
    assert sorted(path.name for path in (project.root / "notebooks").iterdir()) == ["01_one.ipynb", "02_two.ipynb"]


NO_FOLDER = {
    "a file": "file",
    "in a file": "file/x",
    "no such home": "~nobody-of-this-name/x",
    "of the system": "/proc/x",
    "no text": b"\xff\xfe",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NO_FOLDER)
def test_a_home_that_cannot_be_written(project, tmp_path, kind):
    (tmp_path / "file").touch()
    said = project.call(code=2, GFE_HOME=NO_FOLDER[kind], options={"cwd": tmp_path})
    assert said.count("\n") == 1 and said.startswith("run_all.sh: ")
    assert any(remedy in said for remedy in ("writable", "whole path", "name another folder"))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["build", "build/smoke/report"])
def test_a_file_in_the_place_of_a_folder(project, place):
    path = project.home / place
    path.parent.mkdir(parents=True)
    path.touch()
    said = project.call("--keep-going", code=1)
    assert "is in the way" in said and "move it" in said and path.exists()
    assert ("02_two: done" in said) == (place == "build/smoke/report")


def test_settling_twice_changes_nothing_and_keeps_what_is_no_setting():
    given = {
        "HOME": "/h",
        "PYTHONHOME": "/x",
        "PYTHONSTARTUP": "x",
        "PYTHONUTF8": "0",
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "q",
    }
    once = settled(given, ROOT)
    assert settled(once, ROOT) == once
    assert once["HOME"] == "/h" and once["PYTHONUNBUFFERED"] == "1" and once["PYTHONUTF8"] == "1"
    assert not {"PYTHONHOME", "PYTHONSTARTUP", "MPLBACKEND"} & once.keys()


def drawn() -> bytes:
    style()
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 1], marker="o", label="$x$")
    figure.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


@pytest.mark.parametrize(
    "changed",
    [{"text.usetex": True}, {"font.size": 30, "font.family": "monospace"},
    {"axes.spines.top": False, "lines.linewidth": 9},
     {"figure.autolayout": True, "axes.formatter.use_locale": True},
     {"image.cmap": "jet", "savefig.transparent": True}],
)  # fmt: skip
def test_figures_start_from_the_defaults(changed):
    with matplotlib.rc_context():
        before = drawn()
        matplotlib.rcParams.update(changed)
        assert drawn() == before


def test_the_folder_of_a_user_that_there_is_not():
    with pytest.raises(Exception, match="names no folder"):
        absolute("~nobody-of-this-name/x", "GFE_HOME")


def test_a_folder_that_is_full(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="No space left on device.*GFE_HOME"):
        require_writable(tmp_path)


TEXT = ("read_text", "write_text", "open")


@pytest.mark.parametrize("folder", ["gfe_core", "gfe_companion"])
def test_every_text_is_utf_8_whatever_the_locale(folder):
    """Each call that reads or writes text names its encoding."""
    bare = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", None))
            if not isinstance(node, ast.Call) or name not in TEXT:
                continue
            words = {word.arg for word in node.keywords}
            modes = [
                arg.value
                for arg in node.args
                if isinstance(arg, ast.Constant) and re.fullmatch("[rwax+bt]+", str(arg.value))
            ]
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            of_text = owner.rpartition(".")[2] not in ("os", "Image", "self", "build_opener()")
            if "encoding" not in words and of_text and not any("b" in mode for mode in modes):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not bare


def test_an_installed_copy_says_what_it_needs(tmp_path):
    """As pip leaves it: the packages alone."""
    for name in ("gfe_core", "gfe_companion"):
        (tmp_path / name).symlink_to(ROOT / name)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gfe_companion.__main__ as command, pathlib\n"
    program += f"command.ROOT = pathlib.Path({str(tmp_path)!r}); sys.exit(command.main(sys.argv[1:]))"
    for name in ("run", "test", "bench"):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, name], capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | {"GFE_DATA": "", "PYTHONPATH": ""},
        )  # fmt: skip
        assert done.returncode == 3 and "get the repository" in done.stderr and done.stderr.count("\n") == 1, (
            done.stderr
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gfe_companion", "gfe_core"], "nothing is built there"
