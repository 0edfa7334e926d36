"""The arguments of `run`, checked by the standard library alone before anything else happens."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.parameters import OF_FLAGS, checked
from gfe_companion.cli.settings import absolute, settle_home

ROOT = Path(__file__).resolve().parents[2]

RUN_ABOUT = """\
Rebuild the paper: make the environment if there is none yet, get the data, run the notebooks in order with the
experiments that they need, and write figures, tables and a report. What an earlier call finished is kept, so an
interrupted call goes on where it stopped."""

RUN_MORE = """\
exit codes: 0 done, 1 a notebook failed, 2 wrong arguments, 3 no environment or no cluster, 4 no data, 130 interrupted,
            141 nobody reads its output any more, 143 terminated

variables: GFE_HOME=DIR holds what is written, runs/, figures/, build/, data/ and lab/ (default: this folder);
           GFE_DATA=DIR has the data sets (see --data). Both may be relative to where you are, or begin with ~.

examples:
  ./run_all.sh                                  every notebook in the small, on the data that can be had
  ./run_all.sh --profile paper --data ~/mnist   at the paper's sizes, on the files in that folder
  ./run_all.sh --plan                           what would be computed, why, and for how long
  ./run_all.sh --only 05 --force --seeds 0,1,2  one notebook and its runs again, over three seeds
  ./run_all.sh --only 01 -p test_image=7        one notebook with another value in its parameters cell
  ./run_all.sh --lab                            JupyterLab on copies of the notebooks
  ./run_all.sh --lab -- --no-browser --port 9000 --allow-root   what follows -- goes to JupyterLab"""


class Parser(argparse.ArgumentParser):
    """Argparse, with a wrong argument told in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise Stop (USAGE)."""
        raise Stop(f"{message}; --help shows all", Exit.USAGE)


def shaped(pattern: str, wanted: str, convert: Callable[[str], object]) -> Callable[[str], object]:
    """Return an argparse type for the texts that match the pattern; others are refused as not being what was wanted."""

    def read(text: str) -> object:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return convert(text)

    return read


def distinct(text: str) -> tuple[int, ...]:
    """Seeds, each given once: '0,1,2' -> (0, 1, 2)."""
    seeds = tuple(int(seed) for seed in text.split(","))
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} names a seed twice; give each one once")
    return seeds


def positive(text: str) -> float:
    """A number above 0."""
    if not text.strip(".") or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0, such as 90 or 0.5")
    return float(text)


def parameter(text: str) -> tuple[str, str]:
    """A notebook's parameter and the text of its value: 'tau=50.0' -> ('tau', '50.0')."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, such as tau=50.0")
    if name in OF_FLAGS:
        raise argparse.ArgumentTypeError(f"{name} has a flag of its own: give --{name} {value or 'VALUE'}")
    return name, value


def scheduler(text: str) -> str:
    """A Dask scheduler: 'tcp://host:8786', 'tls://host:8786', or the file that it wrote, made absolute."""
    if re.fullmatch(r"(tcp|tls)://[^\s/]+:\d{1,5}", text):
        return text
    path = absolute(text, "scheduler")
    if "://" in text or not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is neither tcp://HOST:PORT nor a file that a Dask scheduler wrote")
    return str(path)


def parser() -> Parser:
    """Return the parser of the flags of `run`."""
    raw = argparse.RawDescriptionHelpFormatter
    made = Parser("run_all.sh", description=RUN_ABOUT, epilog=RUN_MORE, formatter_class=raw, allow_abbrev=False)
    number = shaped(r"\d{1,2}", "a notebook's number such as 05", lambda text: text.zfill(2))
    several = "a notebook's number such as 05, or several: 05,06"
    numbers = shaped(r"\d{1,2}(,\d{1,2})*", several, lambda text: [one.zfill(2) for one in text.split(",")])
    seeds = shaped(r"\d{1,18}(,\d{1,18})*", "a list of whole numbers such as 0,1,2", distinct)
    jobs = shaped(r"\d{1,4}", "a number of runs side by side: 1, 2, ..., or 0 for one on each core", int)
    place = shaped(r"(?s).*\S.*", "a place; give auto, embedded or a folder", str)
    add = made.add_argument
    sizes = "smoke: tiny, to see that all runs; quick (default): the paper in the small; paper: its full sizes"
    add("--profile", choices=("smoke", "quick", "paper"), default="quick", help=sizes)
    sources = "auto (default): GFE_DATA's folder, or what can be had; embedded: those shipped; DIR: where MNIST/raw is"
    add("--data", type=place, default="auto", metavar="auto|embedded|DIR", help=sources)
    add("--only", type=numbers, action="extend", default=[], metavar="05", help="only this notebook, or 05,06; repeats")
    add("--from", type=number, dest="start", metavar="05", help="this notebook and those after it")
    planned = "say what would be computed and executed, why, and for how long; do nothing"
    add("--plan", action="store_true", help=planned)
    add("--force", action="store_true", help="compute and execute again what an earlier call finished, runs included")
    kept = "take runs of older code where there are none of the present; all that rests on them says so"
    add("--keep-runs", action="store_true", help=kept)
    add("--seeds", type=seeds, metavar="0,1,2", help="the seeds of the experiments (default: the profile's)")
    beside = "experiments side by side (default 0: one on each core; smoke runs a few one by one)"
    add("--jobs", type=jobs, default=0, metavar="N", help=beside)
    there = "send the experiments to the workers of this Dask cluster"
    add("--scheduler", type=scheduler, metavar="tcp://HOST:PORT|FILE", help=there)
    many = "with --plan: tell the time that N workers would take, too"
    add("--workers", type=jobs, default=0, metavar="N", help=many)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    published = "put the results of the paper profile into figures/, notebooks/ and README.md, to be committed"
    add("--publish", action="store_true", help=published)
    checked_ = "say whether what is committed is what the committed code makes, and name what is not; do nothing"
    add("--check-published", action="store_true", help=checked_)
    add("--keep-going", action="store_true", help="after a failed notebook, go on with the next")
    minutes = shaped(r"\d{0,6}(\.\d{1,6})?", "a number of minutes above 0, such as 90 or 0.5", positive)
    limit = "end a notebook that takes longer; what its runs finished is kept"
    add("--timeout", type=minutes, metavar="MINUTES", help=limit)
    lab = "open JupyterLab on your copies of the notebooks, in lab/; takes no flag but --data DIR, and -- ARGS for it"
    add("--lab", action="store_true", help=lab)
    pairs = "set a variable of the parameters cell of every selected notebook; repeatable"
    add("-p", type=parameter, action="append", dest="parameters", default=[], metavar="NAME=VALUE", help=pairs)
    return made


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the checked options of `run`. Raises Stop (USAGE or DATA)."""
    flags, for_lab = parser(), []
    if "--" in argv:
        place = argv.index("--")
        argv, for_lab = argv[:place], argv[place + 1 :]
    options, unknown = flags.parse_known_args(argv)
    if unknown:
        valid = ", ".join(name for action in flags._actions for name in action.option_strings)
        raise Stop(f"unknown argument {unknown[0]!r}; valid are {valid}", Exit.USAGE)
    if for_lab and not options.lab:
        raise Stop("what follows -- goes to JupyterLab, so it needs --lab", Exit.USAGE)
    if options.lab:
        defaults = vars(flags.parse_args(["--lab", "--data", options.data]))
        if vars(options) != defaults or options.data == "embedded":
            raise Stop("--lab takes no other flag than --data DIR; set the rest in the notebooks", Exit.USAGE)
    options.for_lab = for_lab
    if options.publish and (options.profile != "paper" or options.data == "embedded" or options.parameters):
        raise Stop("--publish is for --profile paper on the real data, without -p", Exit.USAGE)
    if options.workers and not options.plan:
        raise Stop("--workers is for --plan; a cluster has the workers that are started there", Exit.USAGE)
    if options.keep_runs and (options.publish or options.force):
        other = "--publish" if options.publish else "--force"
        raise Stop(f"--keep-runs takes what older code computed, which {other} must not; drop one", Exit.USAGE)
    check_notebooks(options)
    settle_data(options)
    settle_home()
    if given := os.environ.get("GFE_SCHEDULER"):
        try:
            os.environ["GFE_SCHEDULER"] = scheduler(given)
        except argparse.ArgumentTypeError as error:
            raise Stop(f"GFE_SCHEDULER: {error}; unset it, or name one", Exit.USAGE) from error
    return options


def check_notebooks(options: argparse.Namespace) -> None:
    """See that --only and --from name notebooks that are files and take what -p sets, once. Raises Stop (USAGE)."""
    paths = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    first = options.start or "00"
    for number in options.only + [options.start] * (options.start is not None):
        if number not in paths:
            valid = ", ".join(path.stem for path in paths.values()) or "none: the folder notebooks/ is empty"
            raise Stop(f"there is no notebook {number}; valid are {valid}", Exit.USAGE)
    selected = [path for number, path in paths.items() if number in (options.only or paths) and number >= first]
    if paths and not selected:
        raise Stop(f"nothing of --only {','.join(options.only)} is left by --from {first}; drop one", Exit.USAGE)
    for path in selected:
        if not path.is_file():  # a pipe would be read for ever
            raise Stop(f"{path.name} cannot be read as a notebook (it is no file); restore that file", Exit.USAGE)
    names = [name for name, _ in options.parameters]
    for name in names:
        if names.count(name) > 1:
            raise Stop(f"-p {name} is given {names.count(name)} times; give it once", Exit.USAGE)
    options.parameters = checked(dict(options.parameters), selected)


def settle_data(options: argparse.Namespace) -> None:
    """Make the folder that --data or else GFE_DATA names absolute, in both. Raises Stop (DATA) if it is not there."""
    given = os.environ.get("GFE_DATA") if options.data == "auto" else options.data
    if not given or options.data == "embedded":
        return
    source, other = ("GFE_DATA", "unset it") if options.data == "auto" else ("--data", "give --data embedded")
    folder = absolute(given, source)
    if not folder.is_dir():
        wrong = f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}"
        remedy = f"name one that holds MNIST/raw and FashionMNIST/raw, or {other}"
        raise Stop(f"{source}: {wrong}; {remedy}", Exit.DATA)
    os.environ["GFE_DATA"] = str(folder)
    if options.data != "auto":
        options.data = str(folder)
