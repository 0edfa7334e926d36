"""What is no error of a cell: a sentence with the remedy, the right exit code, and the next notebook all the same."""

import errno

import pytest
from faults.conftest import Project

from gfe_companion.cli import faults, kernel

KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
OF_A_KERNEL = {
    "killed": (KILLED, "its Python was killed"),
    "ends itself": ("os._exit(7)", "its Python was killed"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "its Python was killed"),
    "disk full": (
        f"raise OSError({errno.ENOSPC}, 'No space left on device', '/x')",
        "the disk is full: free some space",
    ),
    "memory": ("raise MemoryError('1 EiB')", "there is not enough memory: lower --jobs"),
    "read only": (f"raise OSError({errno.EROFS}, 'Read-only file system', '/x')", "let GFE_HOME name a folder"),
    "many lines": ("raise ValueError('one\\ntwo')", "ValueError: one two --"),
}


@pytest.fixture(scope="module")
def said(root, tmp_path_factory):
    """What one call says of a notebook for each kind, one after another."""
    project = Project(root, tmp_path_factory.mktemp("kinds"))
    for number, do in enumerate(do for do, _ in OF_A_KERNEL.values()):
        project.add(f"{number + 10}_kind", "import os, signal", do)
    said = project.call("--keep-going", code=1)
    assert "01_one: done" in said and "02_two: done" in said
    assert not list(project.temporary.glob("gfe-*"))
    return said


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_A_KERNEL)
def test_one_sentence_and_the_next_notebook(said, kind):
    number, sentence = 10 + list(OF_A_KERNEL).index(kind), OF_A_KERNEL[kind][1]
    (line,) = [line for line in said.splitlines() if line.startswith(f"{number}_kind.ipynb ")]
    assert sentence in line and f"as far as it got: build/smoke/{number}_kind.failed.ipynb" in line


FORESEEN = {
    "a library is gone": (ImportError("libgomp.so.1: cannot open"), 3, "remove .venv"),
    "no room for a library": (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 1, "memory"),
    "locks": (NotImplementedError("FileSystem does not appear to support flock"), 1, "on a local disk"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), 1, "your disk quota is used up (/x)"),
    "long": (OSError(errno.ENAMETOOLONG, "File name too long", "/x"), 1, "name a shorter one"),
}


@pytest.mark.parametrize("kind", FORESEEN)
def test_what_is_foreseen_has_its_sentence_and_its_code(kind, capsys, monkeypatch):
    monkeypatch.setattr(faults, "reader_gone", lambda: False)
    error, code, remedy = FORESEEN[kind]
    assert faults.tell("run_all.sh", error) == code
    said = capsys.readouterr().err
    assert remedy in said and said.count("\n") == 1 and "traceback" not in said


def test_a_kernel_for_which_too_many_files_are_open():
    error = type("ZMQError", (Exception,), {"__module__": "zmq.error", "errno": errno.EMFILE})()
    assert "raise the limit (ulimit -n)" in kernel._sentence("01_one.ipynb", error, None)


@pytest.mark.slow
def test_what_was_whole_stays_and_the_call_goes_on(project):
    project.call("--only", "01")
    before = (project.home / "build" / "smoke" / "01_one.ipynb").read_bytes()
    project.call("--only", "01", "-p", f"do={KILLED}", code=1)
    assert (project.home / "build" / "smoke" / "01_one.ipynb").read_bytes() == before
    assert "01_one: done" in project.call("--only", "01")


@pytest.mark.slow
def test_a_kernel_that_cannot_start(project):
    """The environment is whole, and yet the kernel ends at once: another module is in its way."""
    module = project.root / "ipykernel.py"
    module.write_text("raise SystemExit('no')")
    try:
        said = project.call("--keep-going", code=1)
    finally:
        module.unlink()
    assert said.count("no kernel could be started") == 2 and "remove .venv" in said


@pytest.mark.slow
@pytest.mark.parametrize("length", [90, 200])
def test_a_long_folder_for_temporary_files(project, length):
    long = project.temporary / ("x" * length)
    long.mkdir()
    project.call("--only", "01", TMPDIR=str(long))
    assert "kernel:" in project.printed() and not list(long.iterdir())


@pytest.mark.slow
def test_a_notebook_that_takes_too_long(project):
    said = project.call("--keep-going", "-p", "wait=600", "--timeout", "0.05", code=1)
    assert "01_one.ipynb took longer than the 0.05 minutes of --timeout" in said and "02_two: done" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    ['{"cells": [', '{"cells": [], "metadata": {"gfe": 3}, "nbformat": 4, "nbformat_minor": 5}',
     '{"cells": [{"cell_type": "code", "metadata": {}, "source": "1"}], "metadata": {}, "nbformat": 4, '
     '"nbformat_minor": 5}', "[1]", ""],
)  # fmt: skip
def test_damaged_notebooks(project, content):
    (project.root / "notebooks" / "02_two.ipynb").write_text(content)
    said = project.call(code=2)
    assert "02_two.ipynb cannot be read as a notebook" in said and said.count("\n") == 1
