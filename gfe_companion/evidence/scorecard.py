"""Does it reproduce? Every claim and every printed number of the paper beside ours, from the files of one profile."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gfe_companion.evidence import claims
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.paper import paper, paper_table
from gfe_companion.runs.profiles import Setting

NOT_MEASURED = "not measured"
NEAR = 0.05  # a printed number is reproduced within this share of our mean


def scorecard(figures: Path) -> pd.DataFrame:
    """The claims judged by the CSV files in ``figures``, one row a claim.

    Columns: claim, section, text, verdict, measured, meaning, rule. A claim whose files are not there is "not
    measured"; its ``meaning`` names the file.
    """
    rows = []
    for claim in paper()["claim"]:
        judge = getattr(claims, claim["name"])
        try:
            finding = judge(lambda name: pd.read_csv(figures / f"{name}.csv"))
        except FileNotFoundError as error:
            finding = claims.Finding(NOT_MEASURED, "", f"{Path(error.filename).name} is not there yet.")
        rows.append((claim["name"], claim["section"], claim["text"], *finding, " ".join(judge.__doc__.split())))
    return pd.DataFrame(rows, columns=["claim", "section", "text", "verdict", "measured", "meaning", "rule"])


def numbers(figures: Path) -> pd.DataFrame:
    """Tables 1 and 2, one row a printed number: table, row, method, printed, mean, low, high, seeds, verdict.

    ``method`` is ours: the paper's GFE-amd is compared with literal AMD and with uncapped AMD, where either was run. A
    number is reproduced if it lies within our 95 % interval or 5 % of our mean; partly, if our loss is lower than that;
    not, if it is higher.
    """
    rows = []
    for table in ("table1", "table2"):
        path = figures / f"{table}.csv"
        if not path.exists():
            continue
        theirs, ours = paper_table(table), pd.read_csv(path)
        for (row, method), group in ours.groupby([theirs.index.name, "method"], sort=False):
            column = "gfe_amd" if method.startswith("gfe_amd") else method
            if column in theirs:
                found = interval(group.test_loss)
                number = theirs.loc[row, column]
                ends = (found.mean, found.low, found.high, found.count)
                rows.append((table, row, method, number, *ends, agreement(found, number)))
    columns = ["table", "row", "method", "printed", "mean", "low", "high", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def agreement(ours: Interval, printed: float) -> str:
    """The verdict on a printed loss."""
    if ours.low <= printed <= ours.high or abs(ours.mean / printed - 1) <= NEAR:
        return claims.YES
    return claims.PARTLY if ours.mean < printed else claims.NO


def verdicts(setting: Setting, *names: str) -> str:
    """The claims of these ``names`` in the paper's words, each with its one verdict and what was measured: Markdown."""
    judged = scorecard(setting.figures).set_index("claim").loc[list(names)]
    lines = [
        f"- \u201c{row.text}\u201d (Sec. {row.section}): **{row.verdict}**. {row.measured}. {row.meaning}"
        for row in judged.itertuples()
    ]
    return "\n".join(lines)
