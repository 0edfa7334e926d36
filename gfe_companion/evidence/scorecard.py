"""Does it reproduce? Every claim and every printed number of the paper beside ours, from the files of one profile."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pandas as pd

from gfe_companion.datasets import REGISTRY, DataError
from gfe_companion.evidence import ours, ours_available, ours_on_the_paper, ours_tuned
from gfe_companion.evidence.claims import NOT_MEASURED, Finding, Read, Unmeasured, all_of, flows, holds, learning
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.paper import paper, paper_table
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import MNIST, Setting

NEAR = 0.05  # a printed number is reproduced within this share of it
THE_PAPER, OURS = "the paper", "ours"
RULES = {THE_PAPER: (flows, learning), OURS: (ours, ours_available, ours_on_the_paper, ours_tuned)}


@lru_cache(maxsize=1)
def statements() -> dict[str, dict]:
    """All that is judged, by name: the fields of paper.toml and ours.toml, ``whose`` it is, and its ``rule``."""
    own = tomllib.loads(Path(__file__).with_name("ours.toml").read_text(encoding="utf-8"))["finding"]
    return {
        entry["name"]: entry | {"whose": whose, "rule": _rule(entry["name"], *RULES[whose])}
        for whose, entries in ((THE_PAPER, paper()["claim"]), (OURS, own))
        for entry in entries
    }


def _rule(name: str, *modules: ModuleType) -> Callable[[Read], Finding]:
    for module in modules:
        if rule := getattr(module, name, None):
            return rule
    places = " or ".join(module.__name__ for module in modules)
    raise ValueError(f"{name} has no rule: write the function {name}(read) in {places}.")


def scorecard(setting: Setting, *names: str) -> pd.DataFrame:
    """The claims of these ``names``, or all of them, judged by the CSV files of ``setting.figures``; one row a claim.

    Columns: claim, section, text, verdict, measured, meaning, rule, whose ("the paper" or "ours").
    ``meaning`` ends with the caution of each of its data sets; where the claim is not measured, it says why.
    Raises ``KeyError`` with the valid names for an unknown one.
    """
    if unknown := [name for name in names if name not in statements()]:
        raise KeyError(f"no claim is called {', '.join(unknown)}; valid are {', '.join(statements())}.")
    rows = []
    for name in names or statements():
        entry = statements()[name]
        found = judge(setting, entry)
        rule = " ".join((entry["rule"].__doc__ or "").split())
        rows.append((name, entry["section"], entry["text"], *found, rule, entry["whose"]))
    columns = ["claim", "section", "text", "verdict", "measured", "meaning", "rule", "whose"]
    return pd.DataFrame(rows, columns=columns)


def judge(setting: Setting, entry: dict) -> Finding:
    """The verdict on one of :func:`statements`. Its rule sees no data set but those that the claim names."""

    def read(name: str) -> pd.DataFrame:
        frame = pd.read_csv(setting.figures / f"{name}.csv")
        if "dataset" not in frame:
            return frame
        if missing := set(entry["data"]) - set(frame.dataset):
            raise Unmeasured(f"{name}.csv has no row of {', '.join(sorted(missing))}.")
        return frame[frame.dataset.isin(entry["data"])]

    try:
        cautions = {name: caution(setting, name) for name in entry["data"]}
        found = entry["rule"](read)
    except Unmeasured as error:
        return Finding(NOT_MEASURED, "", str(error))
    except FileNotFoundError as error:
        return Finding(NOT_MEASURED, "", f"{Path(error.filename).name} is not there yet.")
    return found._replace(sentence=" ".join(dict.fromkeys(filter(None, [found.sentence, *cautions.values()]))))


def caution(setting: Setting, dataset: str) -> str:
    """What the numbers of ``dataset`` cannot say here, if anything.

    Raises :class:`Unmeasured` where other images stand in for it, where its files cannot be read, or where the pages
    show another data set than MNIST.
    """
    if setting.dataset != MNIST:
        raise Unmeasured(f"Not compared: the pages show {REGISTRY[setting.dataset].title} in the place of MNIST.")
    try:
        embedded = setting.embedded(dataset)
    except DataError as error:
        raise Unmeasured(str(error)) from error
    shipped = REGISTRY[dataset].embedded
    if embedded and shipped.stand_in:
        raise Unmeasured(f"{REGISTRY[dataset].title} is not to be had here, and nothing is judged by other images.")
    return shipped.caution if embedded else ""


def verdicts(setting: Setting, *names: str) -> str:
    """The claims of these ``names`` in the paper's words, each with its one verdict and what was measured: Markdown.

    Raises as :func:`scorecard`.
    """
    lines = []
    for row in scorecard(setting, *names).itertuples():
        said = f"\u201c{row.text}\u201d (Sec. {row.section})" if row.whose == THE_PAPER else f"{row.text} (ours)"
        why = [f"{part.rstrip('.')}." for part in (row.measured, row.meaning) if part]
        lines.append(" ".join([f"- {said}: **{row.verdict}**.", *why]))
    return "\n".join(lines)


def printed(setting: Setting, table: str, row: object, method: str) -> float | None:
    """The number that the paper prints for ``method`` in a ``row`` of "table1" or "table2".

    None where it prints none: for a method without a column of the paper, a row that the paper does not have, and where
    nothing is compared, see :func:`caution`.
    """
    theirs, column = paper_table(table), METHODS[method].printed
    if column not in theirs or row not in theirs.index:
        return None
    try:
        caution(setting, paper()[table].get("data", row))
    except Unmeasured:
        return None
    return float(theirs.loc[row, column])


def agreement(loss: Interval, number: float, near: float = NEAR) -> str:
    """The verdict on our reaching a printed loss, a claim of two parts.

    The whole interval lies at most the share ``near`` above ``number``; and at most as much below it. So a lower loss
    is partly so: the method does what it should, and the number is another one.
    """
    low, high = (1 - near) * number, (1 + near) * number
    return all_of([holds(loss, high=high), holds(loss, low, high)])


def beside(setting: Setting, table: str, row: object, method: str, loss: Interval) -> str:
    """The printed number with the verdict on our ``loss``, for a table; empty where :func:`printed` has none."""
    number = printed(setting, table, row, method)
    return "" if number is None else f"{number:.4f} ({agreement(loss, number)})"


def numbers(setting: Setting) -> pd.DataFrame:
    """Tables 1 and 2, one row a printed number, with our loss beside it.

    Columns: table, row, method, printed, mean, low, high, seeds, verdict (by :func:`agreement`), deviation (of our
    mean, relative to the printed number). ``method`` is ours: the paper's GFE-amd is compared with each of our methods
    that has its column.
    """
    rows = []
    for table in ("table1", "table2"):
        if not (path := setting.figures / f"{table}.csv").exists():
            continue
        for (row, method), group in pd.read_csv(path).groupby([paper_table(table).index.name, "method"], sort=False):
            if (number := printed(setting, table, row, method)) is not None:
                found = interval(group.test_loss)
                ends = (found.mean, found.low, found.high, found.count)
                rows.append((table, row, method, number, *ends, agreement(found, number), found.mean / number - 1))
    columns = ["table", "row", "method", "printed", "mean", "low", "high", "seeds", "verdict", "deviation"]
    return pd.DataFrame(rows, columns=columns)
