"""The two commands: what they refuse, with which sentence and exit code, and what they hand on."""

import json
import os
import shutil
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

import gfe_companion.cli
from gfe_companion import __main__ as command
from gfe_companion.cli import arguments
from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.settings import settled

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ["run_all.sh", "run_tests.sh"]


def notebook(path: Path, parameters: str) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A title\n"]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": parameters.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {"tags": []}, "source": ["elsewhere = 1\n"]},
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Two notebooks, the environment at hand, and a pipeline that notes its options and answers `code`."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook(folder / "03_one.ipynb", 'profile: str = "quick"  # a size\ntau: float = 1e4\nslices = 100\n')
    notebook(folder / "05_two.ipynb", 'profile: str = "quick"\ntau: float = 1e4\nlabel = "a"\n')
    stand_in = types.SimpleNamespace(calls=[], code=0)
    stand_in.main = lambda options: stand_in.calls.append(options) or stand_in.code
    monkeypatch.setattr(arguments, "ROOT", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "requirements.lock").touch()
    monkeypatch.setattr(command, "ensure", lambda root: Path(sys.prefix) / "bin" / "python")
    monkeypatch.setattr(command, "settled", lambda environ, root: dict(environ))
    monkeypatch.setattr(gfe_companion.cli, "pipeline", stand_in, raising=False)
    monkeypatch.setitem(sys.modules, "gfe_companion.cli.pipeline", stand_in)
    monkeypatch.setenv("GFE_DATA", "")
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    return stand_in


def test_defaults_and_exit_code_of_the_pipeline(pipeline):
    for code in (Exit.DONE, Exit.FAILED):
        pipeline.code = code
        assert command.main(["run"]) == code
    options = vars(pipeline.calls[0])
    assert options == {
        "profile": "quick", "data": "auto", "only": [], "start": None, "force": False, "seeds": None, "jobs": 0,
        "device": "auto", "publish": False, "keep_going": False, "lab": False, "parameters": {}, "plan": False,
        "keep_runs": False, "timeout": None, "for_lab": [], "scheduler": None, "workers": 0,
        "check_published": False,
    }  # fmt: skip


def test_all_flags(pipeline, tmp_path):
    line = "--profile paper --only 3,05 --only 05 --from 5 --force --seeds 0,7 --jobs 2 --device cpu --keep-going"
    pairs = ["-p", "tau=-1.5", "-p", "label=some words", "--data", str(tmp_path)]
    assert command.main(["run", *line.split(), *pairs]) == 0
    (options,) = pipeline.calls
    assert (options.only, options.start, options.seeds, options.jobs) == (["03", "05", "05"], "05", (0, 7), 2)
    assert options.parameters == {"tau": -1.5, "label": "some words"}
    assert (options.profile, options.device, options.data) == ("paper", "cpu", str(tmp_path))
    assert options.force and options.keep_going


def test_a_scheduler_is_an_address_or_a_file_made_absolute(pipeline, tmp_path, monkeypatch):
    (tmp_path / "scheduler.json").write_text("{}")
    for given in ("tcp://10.0.0.1:8786", "tls://login-1:1", "scheduler.json"):
        monkeypatch.chdir(tmp_path)
        assert command.main(["run", "--scheduler", given]) == 0
    said = [options.scheduler for options in pipeline.calls]
    assert said == ["tcp://10.0.0.1:8786", "tls://login-1:1", str(tmp_path / "scheduler.json")]
    assert command.main(["run", "--plan", "--workers", "20"]) == 0
    assert pipeline.calls[-1].workers == 20


REFUSED = [
    ("--proflie quick", "--profile"),
    ("extra", "--profile"),
    ("--prof quick", "--profile"),
    ("--profile huge", "smoke"),
    ("--device tpu", "cuda"),
    ("--only 04", "03_one, 05_two"),
    ("--from 09", "03_one, 05_two"),
    ("--only one", "such as 05"),
    ("--only 03 --from 05", "--from 05"),
    ("--seeds 0,,1", "0,1,2"),
    ("--seeds 1,1", "twice"),
    ("--seeds -1", "0,1,2"),
    ("--jobs -1", "0 for one on each core"),
    ("--jobs two", "0 for one on each core"),
    ("--data=", "embedded"),
    ("-p tau", "NAME=VALUE"),
    ("-p taw=1", "slices, tau"),
    ("-p tau=1 -p tau=1", "-p tau is given 2 times; give it once"),
    ("--scheduler ~nobody-of-this-name/x", "give the whole path"),
    ("-p slices=1", "label, tau"),
    ("-p elsewhere=1", "slices, tau"),
    ("-p seeds=1,2", "--seeds 1,2"),
    ("-p profile=paper", "--profile paper"),
    ("--scheduler tcp://somewhere", "tcp://HOST:PORT"),
    ("--scheduler http://somewhere:8786", "tcp://HOST:PORT"),
    ("--scheduler no/such.json", "a file that a Dask scheduler wrote"),
    ("--workers 20", "--workers is for --plan"),
    ("--lab --force", "--data DIR"),
    ("--lab --plan", "--data DIR"),
    ("--profile paper --publish --keep-runs", "--publish must not"),
    ("--force --keep-runs", "--force must not"),
    ("--lab --data embedded", "--data DIR"),
]


@pytest.mark.parametrize(("line", "valid"), REFUSED)
def test_refused_before_anything_runs(pipeline, monkeypatch, capsys, line, valid):
    monkeypatch.setattr(command, "ensure", lambda root: pytest.fail("the environment came before the check"))
    assert command.main(["run", *line.split()]) == Exit.USAGE == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("run_all.sh: ") and valid in err


def test_parameter_of_the_selected_notebook_alone(pipeline):
    assert command.main(["run", "--only", "03", "-p", "slices=7"]) == 0
    assert pipeline.calls[0].parameters == {"slices": 7}


def test_damaged_notebook(pipeline, tmp_path, capsys):
    (tmp_path / "notebooks" / "05_two.ipynb").write_text("{")
    assert command.main(["run", "-p", "tau=1"]) == Exit.USAGE
    assert "05_two.ipynb cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--plan"], ["-p", "tau=1"], ["--check-published"]])
def test_a_pipe_in_the_place_of_a_notebook_is_not_waited_for(pipeline, tmp_path, capsys, flags):
    (tmp_path / "notebooks" / "05_two.ipynb").unlink()
    os.mkfifo(tmp_path / "notebooks" / "05_two.ipynb")
    assert command.main(["run", *flags]) == Exit.USAGE
    assert "05_two.ipynb cannot be read as a notebook (it is no file); restore that file" in capsys.readouterr().err
    assert command.main(["run", "--only", "03"]) == 0, "what is not asked for is not looked at"


BROKEN = "one\ntwo\r\u2028\x1b[31m"


@pytest.mark.parametrize("given", ["GFE_HOME", "GFE_DATA", "--data", "-p", "--scheduler"])
def test_a_line_break_in_a_value_breaks_no_sentence(pipeline, tmp_path, monkeypatch, capsys, given):
    place = tmp_path / BROKEN
    if given == "GFE_HOME":
        place.write_text("a file in the way")
    argv = {"-p": ["-p", f"tau={BROKEN}"], "--data": ["--data", str(place)], "--scheduler": ["--scheduler", str(place)]}
    if given.startswith("GFE_"):
        monkeypatch.setenv(given, str(place))
    assert command.main(["run", *argv.get(given, [])]) in (Exit.USAGE, Exit.DATA)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "one\\ntwo\\r\\u2028\\x1b[31m" in said and said[:-1].isprintable()


@pytest.mark.parametrize("in_environ", [True, False])
def test_data_folder(pipeline, tmp_path, monkeypatch, capsys, in_environ):
    monkeypatch.chdir(tmp_path)
    argv = ["run"] if in_environ else ["run", "--data", "mine"]
    monkeypatch.setenv("GFE_DATA", "mine" if in_environ else "another")
    assert command.main(argv) == Exit.DATA == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(tmp_path / "mine") in err and not pipeline.calls
    (tmp_path / "mine").mkdir()
    assert command.main(argv) == 0
    assert os.environ["GFE_DATA"] == str(tmp_path / "mine")
    assert pipeline.calls[0].data == ("auto" if in_environ else str(tmp_path / "mine"))


def test_no_environment_and_interruption(pipeline, monkeypatch, capsys):
    for error, code in ((Stop("no such thing", Exit.ENVIRONMENT), 3), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(command, "ensure", lambda root, error=error: (_ for _ in ()).throw(error))
        for name in ("run", "test"):
            assert command.main([name]) == code
            assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.undo()
    assert command.main(["bake"]) == Exit.USAGE
    assert "run, test" in capsys.readouterr().err


def becomes(monkeypatch) -> list[tuple[list[str], dict[str, str]]]:
    """What this process would have become, and with which environment variables."""
    started: list = []

    def execve(path, argv, environ):
        started.append((argv, environ))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    return started


def test_starts_again_in_the_environment(pipeline, monkeypatch, tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(command, "ensure", lambda root: python)
    monkeypatch.setattr(command, "settled", settled)
    started = becomes(monkeypatch)
    command.main(["run", "--only", "05"])
    ((argv, environ),) = started
    assert argv == [str(python), "-P", "-m", "gfe_companion", "run", "--only", "05"]
    assert environ["PYTHONPATH"] == str(tmp_path) and not pipeline.calls


SUITES = [
    ("def test(): pass", [], 0),
    ("def test(): assert False", [], 1),
    ("import nothing_of_that_name", [], 1),
    ("", [], 1),
    ("def test(): pass", ["--no-such-flag"], 2),
    ("def test(): raise KeyboardInterrupt", [], 130),
]


@pytest.mark.parametrize(("source", "flags", "code"), SUITES)
def test_exit_codes_of_the_tests(tmp_path, source, flags, code):
    (tmp_path / "test_it.py").write_text(source)
    start = "import sys, pathlib, gfe_companion.__main__ as command\n"
    start += "command.ensure = lambda root: pathlib.Path(sys.prefix, 'bin', 'python')\n"
    start += "sys.exit(command.main(['test', *sys.argv[1:]]))"
    argv = [sys.executable, "-c", start, "-p", "no:cacheprovider", *flags, str(tmp_path / "test_it.py")]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "GFE_DATA": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    assert subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True).returncode == code


def call(script: str, path: Path | str, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([ROOT / script, *argv], env={"PATH": str(path)}, cwd=cwd, capture_output=True, text=True)


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_both_scripts_find_their_repository_alike():
    """Each must know where it is before it can read anything that both could share."""
    run, test = ((ROOT / script).read_text().splitlines()[2:] for script in SCRIPTS)
    assert [line.replace("gfe_companion run", "gfe_companion test") for line in run] == test


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_python_or_an_old_one(script, tmp_path):
    assert call(script, tmp_path).returncode == Exit.ENVIRONMENT == 3
    old = "import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])"
    fake(tmp_path, "python3", f"""'{sys.executable}' -c '{old}' "$2" """)
    fake(tmp_path, "python", "echo 'shim: no version is set' >&2; echo more >&2; exit 127")
    done = call(script, tmp_path)
    assert done.returncode == 3 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{script}: no Python 3.11 or newer") and "install" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_any_new_python_will_do_from_any_folder(script, tmp_path):
    fake(tmp_path, "python3", "exit 127")
    fake(tmp_path, "python3.12", f'exec "{sys.executable}" -S "$@"')  # -S: the standard library alone
    (tmp_path / "json.py").write_text("raise SystemExit('the caller\\'s folder was searched')")
    done = call(script, tmp_path, "--help", cwd=tmp_path)
    assert done.returncode == 0 and "exit codes: 0 done" in done.stdout and "examples:" in done.stdout, done.stderr


@pytest.mark.parametrize("script", [*SCRIPTS, ".ci/run", "gfe_companion/cli/python.sh"])
def test_scripts_are_sound(script):
    path = ROOT / script
    assert script.endswith("python.sh") or path.stat().st_mode & stat.S_IXUSR
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    subprocess.run([shutil.which(shell), "-n", path], check=True)
