"""Ctrl-C, a signal, a pipe that nobody reads, a closed stream, a full device: how a call ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGQUIT: 131, signal.SIGXCPU: 152}


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_within_five_seconds_and_it_goes_on(project, number):
    code, seconds, said = project.interrupted(number, "-p", "wait=60")
    assert code == SIGNALS[number] and seconds < 5, said
    assert said.strip().endswith("call it again to go on") and "Traceback" not in said
    assert not list(project.temporary.glob("gfe-*")), "temporary folders are left"
    if number == signal.SIGINT:
        assert "01_one: done" in project.call("--only", "01")


@pytest.mark.slow
def test_a_process_that_hangs_ends_all_the_same(tmp_path):
    """Nothing in it lets the exception pass."""
    program = (
        "import sys, time, pathlib\nfrom gfe_companion.cli import endings\nendings.listen()\n"
        f"folder = pathlib.Path({str(tmp_path / 'gone')!r}); folder.mkdir(); endings.temporary.add(folder)\n"
        "print('ready', flush=True)\n"
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout.readline() == "ready\n"
    time.sleep(0.5)  # it sleeps now, too
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=6)
    assert started.returncode == 130 and err == "SIGINT; call it again to go on\n" and not (tmp_path / "gone").exists()


def shell(project, line: str) -> tuple[int, str]:
    """The exit codes of a pipe's commands in bash, and all that was said."""
    line = line.replace("CALL", f"{project.root}/run_all.sh --profile smoke --data embedded")
    done = subprocess.run(
        ["bash", "-c", f'{line}; echo "codes: ${{PIPESTATUS[@]}}" > {project.home}.codes'], capture_output=True,
        text=True, env=project.environ(), timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    codes = Path(f"{project.home}.codes").read_text().split()
    return int(codes[1]), done.stdout + done.stderr


QUIET = {
    "CALL --help | true": 141,
    "CALL --plan | true": 141,
    "CALL -p wait=1 2>&1 | head -1": 141,
    "CALL --only 01 2>&-": 0,
    "CALL --only 01 <&- >&- 2>&-": 0,
    "CALL --no-such-flag 2>&-": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("line", QUIET)
def test_closed_pipes_and_streams_end_quietly(project, line):
    code, said = shell(project, line)
    assert code == QUIET[line], said
    for word in ("Traceback", "Error", "Exception"):
        assert word not in said
    if code == 0:
        assert "kernel:" in project.printed(), "it was done"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("line", ["CALL --plan > /dev/full", "CALL --help > /dev/full"])
def test_a_full_disk_under_its_output(project, line):
    code, said = shell(project, line)
    assert code == 1 and said.startswith("run_all.sh: the disk is full") and said.count("\n") == 1


@pytest.mark.parametrize("name", ["run_all.sh", "run_tests.sh"])
def test_a_script_reached_through_links(project, tmp_path, name):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "absolute").symlink_to(project.root / name)
    (tmp_path / "bin" / "relative").symlink_to("absolute")
    (tmp_path / "folder").symlink_to(project.root)
    for path in (tmp_path / "bin" / "absolute", tmp_path / "bin" / "relative", tmp_path / "folder" / name):
        done = subprocess.run([path, "--help"], capture_output=True, text=True, cwd="/", env=project.environ())
        assert done.returncode == 0 and f"usage: {name}" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_tests_whose_output_nobody_reads(project, tmp_path):
    """Pytest does not expect that."""
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.parametrize('i', range(3000))\ndef test(i): pass")
    flags = f"-v -p no:cacheprovider -n 0 {tmp_path}/test_it.py"
    code, said = shell(project, f"{project.root}/run_tests.sh {flags} | head -1")
    assert code == 141 and "Traceback" not in said and "INTERNALERROR" not in said, said[-2000:]
