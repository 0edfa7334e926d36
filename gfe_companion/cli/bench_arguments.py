"""The arguments of `bench`, checked by the standard library alone before anything else happens."""

from __future__ import annotations

import argparse

from gfe_companion.cli.arguments import Parser, settle_data, shaped
from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.settings import absolute, settle_home

BENCH_ABOUT = """\
Time encoders, trainings and their scaling side by side in this one process. Let nothing else run meanwhile."""


def bench_parser() -> Parser:
    """Return the parser of the flags of `bench`."""
    raw = argparse.RawDescriptionHelpFormatter
    made = Parser("python -m gfe_companion bench", description=BENCH_ABOUT, formatter_class=raw, allow_abbrev=False)
    count = shaped(r"[1-9]\d{0,5}", "a whole number above 0", int)
    counts = shaped(
        r"[1-9]\d{0,5}(,[1-9]\d{0,5})*",
        "whole numbers such as 256,10000",
        lambda text: [int(n) for n in text.split(",")],
    )
    add = made.add_argument
    parts = "one of them only; repeatable (default: the first three)"
    names = ("encoding", "training", "scaling", "peers", "grid", "overhead")
    add("--only", choices=names, action="append", default=[], help=parts)
    add("--runs", type=count, default=10_000, metavar="N", help="runs of the grid whose overhead is measured")
    add("--images", type=counts, default=[256, 10_000], metavar="256,10000", help="test images of the encoding races")
    add(
        "--train",
        type=counts,
        default=[5760, 50_000],
        metavar="5760,50000",
        help="training images of the training races",
    )
    add("--repeats", type=count, default=5, metavar="N", help="timings of each (default 5)")
    add("--limit", type=count, default=60, metavar="S", help="seconds of an encoding (default 60; peers: always 2)")
    sources = "auto (default): GFE_DATA's folder, or what can be had; embedded: those shipped; DIR: where MNIST/raw is"
    add("--data", default="auto", metavar="auto|embedded|DIR", help=sources)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto; peers: always cpu)")
    add("--threads", type=count, default=0, metavar="N", help="threads of encoding races (default: all cores)")
    add("--publish", action="store_true", help="put what grid, overhead and peers found where it is committed")
    add("--json", metavar="FILE", default="", help="where the results go (default: build/bench.json)")
    return made


def parse_bench(argv: list[str]) -> argparse.Namespace:
    """Return the checked options of `bench`. Raises Stop (USAGE or DATA)."""
    options = bench_parser().parse_args(argv)
    if any(images % 16 for images in options.train):
        raise Stop("--train: whole batches of 16 images, such as 5760,50000", Exit.USAGE)
    options.json = str(absolute(options.json, "--json")) if options.json else ""
    settle_data(options)
    settle_home()
    return options
