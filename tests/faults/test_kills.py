"""Two calls at once, of two processes each, killed outright again and again: their results stay what they would be."""

import os
import random
import signal
import subprocess
import time

import pandas as pd
import pytest
import torch
from faults.conftest import ROOT

KILLS = 20
CALL = [str(ROOT / "run_all.sh"), "--profile", "smoke", "--jobs", "2", "--only", "03", "--only", "05"]
OF_THE_CLOCK = r"second|time|_s$|_ms$"  # columns that say how long something took


def start(home, log):
    """A call on its way; it has stderr of its own, as one that is killed leaves kernels that still hold it."""
    environ = os.environ | {"GFE_HOME": str(home)}
    return subprocess.Popen(CALL, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[name for name in frame if not pd.Series(str(name)).str.contains(OF_THE_CLOCK)[0]]]


@pytest.mark.long
def test_twenty_kills_over_one_profile_end_with_equal_numbers(tmp_path):
    draw = random.Random(0)
    with (tmp_path / "log").open("w+") as log:
        assert start(tmp_path / "whole", log).wait(timeout=600) == 0
        killed = tmp_path / "killed"
        calls, kills = [start(killed, log), start(killed, log)], 0
        while kills < KILLS:
            time.sleep(draw.uniform(1, 6))
            which = draw.randrange(2)
            if calls[which].poll() is None:
                calls[which].send_signal(signal.SIGKILL)
                kills += 1
            else:  # done before it could be killed: what it made is made again
                assert calls[which].returncode == 0
            calls[which].wait()
            calls[which] = start(killed, log)
        assert [each.wait(timeout=600) for each in calls] == [0, 0]
        log.seek(0)
        assert "Traceback" not in log.read()
    same(tmp_path / "whole", killed)


def same(whole, killed):
    """Every run has equal histories and weights, every table equal numbers; nothing else is left but what is hidden."""
    runs = {path.name for path in (whole / "runs").glob("[!.]*")}
    assert runs and {path.name for path in (killed / "runs").glob("[!.]*")} == runs
    for name in runs:
        ours, theirs = (home / "runs" / name for home in (whole, killed))
        pd.testing.assert_frame_equal(
            *(numbers(pd.read_csv(folder / "history.csv")) for folder in (ours, theirs)), check_exact=True
        )
        one, other = (flat(torch.load(folder / "weights.pt", weights_only=True)) for folder in (ours, theirs))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    tables = {path.name for path in (whole / "figures" / "smoke").glob("[!.]*")}
    assert tables and {path.name for path in (killed / "figures" / "smoke").glob("[!.]*")} == tables
    for name in (name for name in tables if name.endswith(".csv")):
        pd.testing.assert_frame_equal(
            *(numbers(pd.read_csv(home / "figures" / "smoke" / name)) for home in (whole, killed)), check_exact=True
        )


def flat(tensors, above=""):
    """The tensors of nested dictionaries, by their path."""
    if isinstance(tensors, dict):
        return {name: each for key, value in tensors.items() for name, each in flat(value, f"{above}/{key}").items()}
    return {above: torch.as_tensor(tensors)}
