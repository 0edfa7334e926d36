"""A Dask cluster of SLURM jobs. Fill in your site's names, start this on a login node, and leave it running:

    .venv/bin/python cluster/slurm.py
    ./run_all.sh --profile paper --scheduler build/scheduler.json     # in another terminal, on the same file system

Ctrl-C cancels the jobs. What is finished by then is kept; the next call goes on.
"""

import os
import sys
import time
from pathlib import Path

# --- names of the site
PARTITION = ""  # what `sinfo` lists
ACCOUNT = ""  # where the hours are booked; "" where the site has no accounts
INTERFACE = ""  # the network between the nodes, such as "ib0"; "" for the one that has the host's name
DATA = ""  # a folder that all nodes see, with MNIST/raw and FashionMNIST/raw; "" if nodes may download

# --- sizes
JOBS = 4  # jobs in the queue
PROCESSES = 16  # runs side by side in a job: as many as it has cores
MEMORY = "24GB"  # of a job: 1.5 GB for each process
HOURS = 24  # after which a job ends; its runs go on elsewhere from where they were last saved

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("GFE_HOME") or ROOT).absolute()


def main() -> None:
    """Start a scheduler here and ask SLURM for its workers, until Ctrl-C."""
    from dask_jobqueue import SLURMCluster

    file = HOME / "build" / "scheduler.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"PYTHONPATH": str(ROOT), "GFE_DATA": DATA, "GFE_HOME": str(HOME)}
    cluster = SLURMCluster(
        queue=PARTITION,
        account=ACCOUNT or None,
        interface=INTERFACE or None,
        cores=PROCESSES,
        processes=PROCESSES,  # each of one thread
        memory=MEMORY,
        walltime=f"{HOURS}:00:00",
        python=sys.executable,
        job_script_prologue=[f"export {name}='{value}'" for name, value in told.items() if value],
        log_directory=str(file.parent / "slurm"),
        scheduler_options={"scheduler_file": str(file), "dashboard": False},
        worker_extra_args=["--no-dashboard"],
    )
    cluster.scale(jobs=JOBS)
    print(f"{JOBS} jobs are asked for; the scheduler is in {file}", flush=True)
    try:
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        cluster.close()


if __name__ == "__main__":
    main()
