"""Calls at the same instant: one at a time at a profile, and the others say for what they wait."""

import re
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
def test_calls_at_the_same_instant_take_turns(project):
    """Each executes what the one before did not, and nobody finds a file half written."""
    started = [project.start("-p", "wait=1") for _ in range(3)]
    said = ["".join(each.communicate(timeout=120)) for each in started]
    assert [each.returncode for each in started] == [0, 0, 0], said
    assert "Traceback" not in "".join(said)
    assert sum("01_one: done" in each for each in said) == 1, "one does the work"
    assert sum("01_one: nothing to do" in each for each in said) == 2, "and the others find it done"
    waited = [each for each in said if "waiting for another call that is at the smoke profile" in each]
    assert len(waited) == 2 and all(re.search(r"\(process \d+, at \w+", each) for each in waited)
    assert (project.home / "build" / "smoke" / "report" / "index.html").exists()
    assert not (project.home / "build" / "smoke" / ".turn.json").exists()


@pytest.mark.slow
def test_who_waits_can_be_interrupted_and_who_is_killed_keeps_nobody_waiting(project):
    build = project.home / "build" / "smoke"
    program = (
        "import pathlib, sys, time\nfrom gfe_companion.cli.turns import turn_at\n"
        "with turn_at(pathlib.Path(sys.argv[1]), print) as turn:\n"
        "    turn.at('01_one')\n    print('held', flush=True)\n    time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(build)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert "02_two: done" in project.call("--profile", "quick", "--only", "02"), "another profile does not wait"
    waiting = project.start("--only", "02")
    line = ""
    while "waiting" not in line:
        line = waiting.stderr.readline()
    assert f"(process {holder.pid}, at 01_one since " in line
    sent = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 130 and time.monotonic() - sent < 5, err
    holder.kill()
    holder.communicate()
    assert "02_two: done" in project.call("--only", "02")
