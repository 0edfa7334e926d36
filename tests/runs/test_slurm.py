"""The SLURM file, with its names filled in: what it asks of SLURM, and runs made by the jobs that a stand-in starts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gfe_companion.runs import cluster as client
from gfe_companion.runs import store
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.runs.stand_in import Sleeps

SETTING = Setting(PROFILES["smoke"], "embedded", (0,), 1, "cpu")
RECIPE = ROOT / "cluster" / "slurm.py"
FILLED = {
    'PARTITION = ""': 'PARTITION = "short"', 'ACCOUNT = ""': 'ACCOUNT = "optics"', "JOBS = 4": "JOBS = 1",
    "PROCESSES = 16": "PROCESSES = 2", 'MEMORY = "24GB"': 'MEMORY = "3GB"',
}  # fmt: skip
SBATCH = """#!/bin/sh
cp "$1" "$SPOOL/job.sh"
cd "$SPOOL"
setsid sh "$SPOOL/job.sh" > "$SPOOL/job.log" 2>&1 &
echo $! > "$SPOOL/pid"
echo "Submitted batch job 41"
"""
SCANCEL = '#!/bin/sh\nkill -- "-$(cat "$SPOOL/pid")"\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder that stands in for SLURM's: its commands start jobs on this machine, and it holds the last job."""
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SPOOL", str(tmp_path))
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_jobs_of_slurm_make_the_runs(slurm, monkeypatch):
    text, file = RECIPE.read_text(), slurm / "home" / "build" / "scheduler.json"
    for name, value in FILLED.items():
        assert text.count(name) == 1, name
        text = text.replace(name, value)
    run_it = (
        f"exec(compile({text!r}, {str(RECIPE)!r}, 'exec'), {{'__name__': '__main__', '__file__': {str(RECIPE)!r}}})"
    )
    with (slurm / "log").open("w") as log:
        started = subprocess.Popen([sys.executable, "-c", run_it], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (file.exists() and (slurm / "pid").exists()):
            assert started.poll() is None and time.monotonic() < deadline, (slurm / "log").read_text()
            time.sleep(0.1)
        job = (slurm / "job.sh").read_text()
        for line in ("#SBATCH -p short", "#SBATCH -A optics", "#SBATCH --cpus-per-task=2", "#SBATCH -t 24:00:00"):
            assert line in job
        assert f"export PYTHONPATH='{ROOT}'" in job and "GFE_DATA" not in job, "no folder of data was named"
        assert "--nthreads 1" in job and "--nworkers 2" in job
        monkeypatch.setenv("GFE_SCHEDULER", str(file))
        client.connect.cache_clear()
        made = store.run_grid([Sleeps(number, 0.1) for number in range(4)], SETTING)
        assert [run.history.loss[0] for run in made] == [0, 1, 2, 3]
        client.connect(str(file)).close(timeout=5)
    finally:
        client.connect.cache_clear()
        started.send_signal(signal.SIGINT)
        started.wait(60)
        subprocess.run([slurm / "scancel", "41"], capture_output=True)
