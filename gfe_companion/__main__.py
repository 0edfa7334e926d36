"""The command line: `python -m gfe_companion run|test|bench`; run_all.sh and run_tests.sh call the first two.

Whatever is wrong with the arguments is found first, by the standard library alone; then comes the environment, in whose
Python the same command line starts again; then the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gfe_companion.cli import endings, faults, lab
from gfe_companion.cli.arguments import parse, settle_data
from gfe_companion.cli.bench_arguments import parse_bench
from gfe_companion.cli.environment import Exit, Stop, ensure
from gfe_companion.cli.settings import leave, require_writable, set_environ, settle_home, settled

ROOT = Path(__file__).resolve().parents[1]

ABOUT = """\
usage: python -m gfe_companion run|test|bench [arguments]

  run    rebuild the paper's figures and tables (run_all.sh); run --help says how
  test   run the tests (run_tests.sh); test --help says how
  bench  time encoders and trainings side by side; bench --help says how"""

TEST_ABOUT = """\
usage: run_tests.sh [pytest's arguments]

Make the environment if there is none yet, then run the tests in it: all but those that take minutes (-m long), or as
pytest's arguments say. Paths among these are relative to the repository. GFE_DATA=DIR names a folder that holds the
real data sets.

exit codes: 0 done, 1 a test failed, 2 wrong arguments, 3 no environment, 4 no data, 130 interrupted,
            141 nobody reads its output any more, 143 terminated

examples:
  ./run_tests.sh -x -k amd
  ./run_tests.sh -n 2 -m "not slow" tests/cli/test_environment.py"""


def enter(argv: list[str]) -> Path:
    """Start `argv` again in the environment's Python, or return its path if this process is already there.

    It starts again, too, where a setting of the caller's has to go that Python has read already.
    """
    if not (ROOT / "requirements.lock").is_file():
        raise Stop(
            f"the copy in {ROOT} is an installed one, which can be imported, but has no notebooks, no tests and no "
            "requirements.lock: get the repository, and call ./run_all.sh or ./run_tests.sh there",
            Exit.ENVIRONMENT,
        )
    given, me = dict(os.environ), str(os.getpid())
    environ = settled(given, ROOT)
    set_environ(environ)  # what looks at packages must not meet other settings either
    python = ensure(ROOT)
    there = Path(sys.prefix).resolve() == python.parent.parent.resolve()
    again = given.get("GFE_SETTLED") == me  # what differs now, this Python itself sets as it starts
    if not there and again:
        said = f"{python} starts the Python of {sys.prefix}: remove {python.parents[1]}, then call again"
        raise Stop(said, Exit.ENVIRONMENT)
    if not there or (environ != given and not again):
        os.execve(python, [str(python), "-P", "-m", "gfe_companion", *argv], environ | {"GFE_SETTLED": me})
    return python


def run(argv: list[str]) -> int:
    """Run the notebooks, or open JupyterLab on them."""
    options = parse(argv)
    if (ROOT / "requirements.lock").is_file() and not (options.plan or options.check_published):
        require_writable(Path(os.environ.get("GFE_HOME") or ROOT))
    python = enter(["run", *argv])
    if options.check_published:
        from gfe_companion.site import manifest

        said, current = manifest.report()
        print(said)
        return Exit.DONE if current else Exit.FAILED
    if options.lab:
        lab.start(python, ROOT, options.for_lab)
    leave()
    from gfe_companion.cli import pipeline

    return pipeline.main(options)


def test(argv: list[str]) -> int:
    """Run pytest, whose exit codes become ours; its own does not tell Ctrl-C from a file that cannot be collected."""
    if argv in (["-h"], ["--help"]):
        print(TEST_ABOUT)
        return Exit.DONE
    settle_data(argparse.Namespace(data="auto"))
    settle_home()
    enter(["test", *argv])
    os.environ["MPLBACKEND"] = "agg"  # no windows
    endings.listen_no_more()
    sys.stdout = endings.Quiet(sys.stdout)
    import pytest

    class Interrupted:
        def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo) -> None:
            codes[pytest.ExitCode.INTERRUPTED] = Exit.INTERRUPTED if excinfo.type is KeyboardInterrupt else Exit.FAILED

    codes: dict[int, Exit] = {pytest.ExitCode.OK: Exit.DONE, pytest.ExitCode.USAGE_ERROR: Exit.USAGE}
    os.chdir(ROOT)
    workers = str(min(4, 1 + (os.cpu_count() or 1)))  # one more than cores, as many tests wait for a call
    beside = ["-n", workers, "--dist", "loadfile", "--no-loadscope-reorder"]  # a file's tests share runs
    whole = ["-q", *beside, "-m", "not long", "tests"]
    return codes.get(pytest.main(argv or whole, plugins=[Interrupted()]), Exit.FAILED)


def bench(argv: list[str]) -> int:
    """Time encoders, trainings and scaling."""
    options = parse_bench(argv)
    enter(["bench", *argv])
    leave()
    from gfe_companion.cli import bench

    return bench.main(options)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code. Nothing is raised: see :mod:`cli.faults`."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    commands = {"run": ("run_all.sh", run), "test": ("run_tests.sh", test), "bench": ("bench", bench)}
    name, work = commands.get(command, ("gfe_companion", None))
    try:
        if command in ("-h", "--help"):
            print(ABOUT)
            code: int = Exit.DONE
        elif work is None:
            raise Stop(f"unknown command {command!r}; valid are {', '.join(commands)}", Exit.USAGE)
        else:
            code = work(rest)
        sys.stdout.flush()
    except BaseException as error:
        return faults.tell(name, error)
    return code


if __name__ == "__main__":
    endings.open_streams()
    endings.listen()
    sys.unraisablehook = lambda _: None  # what objects meet at their end: what counts is told by the error itself
    sys.exit(main())
