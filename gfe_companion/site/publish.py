"""What of the paper profile is committed: its figures and tables, its executed notebooks, the tables of pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pandas as pd

from gfe_companion.evidence.claims import NO, PARTLY, WORDS, YES
from gfe_companion.evidence.scorecard import THE_PAPER
from gfe_companion.lessons.playground import make
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import costs, manifest
from gfe_companion.studies.results import markdown

BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
KEPT = ("tags", "jupyter")  # of a cell's metadata: what it is for, and whether its code is folded
PAGES = ("README.md", "figures/README.md")  # whose blocks hold published tables


def publish(executed: Iterable[Path], setting: Setting) -> None:
    """Put ``executed`` notebooks, the profile's figures, and its tables in the pages, where they are committed.

    The weights of the playground are made anew where their trainings are there.

    A notebook is published as it would look if it had been run by hand: its own parameters cell, without the injected
    one, execution counts 1, 2, ..., no timings. Its cells must be those of notebooks/, else ``ValueError``.
    """
    targets = []
    for path in executed:
        target = ROOT / "notebooks" / path.name
        notebook = published(nbformat.read(path, as_version=4))
        if [c.source for c in notebook.cells] != [c.source for c in nbformat.read(target, as_version=4).cells]:
            raise ValueError(f"{path.name} has changed since it was executed; run it again.")
        _put(target, nbformat.writes(notebook) + "\n")
        targets.append(target)
    folder = ROOT / "figures" / setting.profile.name
    if folder.resolve() != setting.figures.resolve():
        shutil.copytree(setting.figures, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    manifest.write(targets, setting, folder)
    if make.ready(setting):
        make.publish(setting)
    for name in PAGES:
        page = with_results((ROOT / name).read_text(encoding="utf-8"), folder)
        _put(ROOT / name, costs.filled(page, setting))


def _put(path: Path, text: str) -> None:
    """Write a file of the repository aside and in its place when whole: a full disk must not cost what was there."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def published(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook without what papermill put into it."""
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    notebook.cells = [cell for cell, has in zip(notebook.cells, tags, strict=True) if "injected-parameters" not in has]
    notebook.metadata.pop("papermill", None)
    count = 0
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT and value}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    return notebook


def with_results(readme: str, folder: Path) -> str:
    """A page with the published tables between their marks, such as <!-- table1 --> and <!-- /table1 -->."""

    def fill(block: re.Match) -> str:
        if block[2] == "findings" and (folder / "scorecard.csv").exists():
            return block[1] + findings(pd.read_csv(folder / "scorecard.csv", keep_default_na=False)) + block[3]
        table = folder / f"{block[2]}.md"
        if not table.exists():
            return block[0]
        if block[2] != "scorecard":
            return block[1] + table.read_text(encoding="utf-8") + block[3]
        judged = pd.read_csv(table.with_suffix(".csv"), keep_default_na=False)
        papers = judged.loc[judged.whose == THE_PAPER, ["text", "section", "verdict", "measured"]]
        shown = papers.rename(columns={"text": "the paper claims"})
        return block[1] + markdown(shown) + "\n" + block[3]

    return BLOCK.sub(fill, readme)


def findings(judged: pd.DataFrame) -> str:
    """What was found, a line for each verdict: the paper's claims, and then the findings of our own."""
    papers, own = judged[judged.whose == THE_PAPER], judged[judged.whose != THE_PAPER]
    lines, others = [], {verdict: each for verdict, each in papers.groupby("verdict", sort=False) if verdict != YES}
    agreed = papers[papers.verdict == YES]
    lines.append(
        f"**{YES.capitalize()}**: {len(agreed)} of the paper's {len(papers)} claims (Sec. {_sections(agreed)})."
    )
    for verdict in (PARTLY, NO):
        said = "; ".join(f"\u201c{text}\u201d (Sec. {where})" for text, where in _said(others.pop(verdict, None)))
        lines += [f"**{verdict.capitalize()}**: {said}."] if said else []
    lines += [f"**{verdict.capitalize()}**: {len(each)} (Sec. {_sections(each)})." for verdict, each in others.items()]
    for verdict in [word for word in WORDS if word in {*own.verdict}]:
        each = own[own.verdict == verdict]
        said = "; ".join(text[0].lower() + text[1:] if text[1:2].islower() else text for text, _ in _said(each))
        lines.append(f"**New, {verdict}** ({len(each)} of {len(own)} findings of our own): {said}.")
    return "".join(f"- {line}\n" for line in lines)


def _said(claims: pd.DataFrame | None) -> list[tuple[str, str]]:
    return [] if claims is None else list(zip(claims.text, claims.section, strict=True))


def _sections(claims: pd.DataFrame) -> str:
    """The sections that ``claims`` are in, without their figures, each once."""
    return ", ".join(sorted({str(each).partition(",")[0] for each in claims.section}))
