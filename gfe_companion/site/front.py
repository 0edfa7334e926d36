"""The front page of the report: the idea, the central picture, three findings, the routes, and what they rest on."""

from __future__ import annotations

import nbformat
import pandas as pd
from bs4 import BeautifulSoup

from gfe_companion.evidence.claims import NO, NOT_MEASURED, PARTLY, UNDECIDED, YES
from gfe_companion.evidence.scorecard import THE_PAPER
from gfe_companion.lessons.playground.fragment import fragment
from gfe_companion.runs.profiles import MNIST, Setting, home
from gfe_companion.runs.store import finished
from gfe_companion.site.figures import Shown
from gfe_companion.site.glossary import PAGE
from gfe_companion.site.pages import Page, in_boxes, rendered, table_below
from gfe_companion.site.prose import to_html
from gfe_companion.site.show import older_files
from gfe_companion.studies.needs import everything_of
from gfe_companion.studies.results import listed, markdown

MARKS = {YES: "✓", PARTLY: "◐", UNDECIDED: "?", NO: "✗", NOT_MEASURED: "–"}
IDEA, CENTRAL = "fig_00_idea", "fig8_clock"
FINDINGS = ("few_images", "costs_more_time", "ours_below_tuned_ae")  # few images, at what price, and need it be so


class Damaged(Exception):
    """A file that the report is made of is not as it was made, which the text says."""


def front(
    setting: Setting, notebooks: dict[str, nbformat.NotebookNode], pages: dict[str, Page], shown: dict[str, Shown]
) -> str:
    """The body of the front page. Raises :class:`Damaged`."""
    judged = _judged(setting)
    return rendered(
        "index.html.j2",
        introduction=_introduction(setting),
        playground=fragment(),
        idea=shown.get(IDEA),
        central=shown.get(CENTRAL),
        findings=_findings(judged, notebooks),
        routes=table_below(pages[PAGE].soup, "which-way-through") if PAGE in pages else "",
        pages={stem: page.title for stem, page in pages.items()},
        answers={stem: page.answer for stem, page in pages.items()},
        scorecard=_scorecard(judged),
        pictures=[each for each in shown.values() if each.size],
        provenance=_provenance(setting, notebooks),
    )


def _introduction(setting: Setting) -> str:
    older = older_files(setting.figures)
    banner = f"\n\n> **Of older code.** These rest on runs that were computed by older code: {listed(older)}."
    shown = "" if setting.dataset == MNIST else f", and the pages show **{setting.load().title}**"
    return to_html(
        "The paper: Flouris, Volokitin, Bredell, Konukoglu, *Gradient flow encoding with distance optimization "
        "adaptive step size*, [arXiv 2105.05031](https://arxiv.org/abs/2105.05031). "
        f"The numbers here are of the profile **{setting.profile.name}**{shown}." + banner * bool(older)
    )


def _judged(setting: Setting) -> pd.DataFrame | None:
    """The scorecard that page 09 has written; None where it has not."""
    path = setting.figures / "scorecard.csv"
    if not path.exists():
        return None
    try:
        judged = pd.read_csv(path, keep_default_na=False)
        return judged[["claim", "whose", "text", "section", "verdict", "measured"]].astype(str)
    except (ValueError, KeyError) as error:
        raise Damaged(f"{path.relative_to(home())} is damaged: call again with --only 09") from error


def _claims(judged: pd.DataFrame) -> pd.Series:
    """Each claim in words: the paper's are quoted."""
    quoted = "\u201c" + judged.text + "\u201d (Sec. " + judged.section + ")"
    return quoted.where(judged.whose == THE_PAPER, judged.text + " (Sec. " + judged.section + "; a finding of our own)")


def _findings(judged: pd.DataFrame | None, notebooks: dict[str, nbformat.NotebookNode]) -> list[dict[str, str]]:
    """The three claims that matter most, as they were judged, each with the page that judges it."""
    if judged is None:
        return []
    found = []
    rows = judged.assign(words=_claims(judged)).set_index("claim")
    for name in FINDINGS:
        if name in rows.index:
            row = rows.loc[name]
            stems = [stem for stem, notebook in notebooks.items() if f'"{name}"' in _code(notebook)]
            told = {"claim": row.words, "verdict": row.verdict, "mark": MARKS[row.verdict], "measured": row.measured}
            found.append(told | {"stem": stems[0] if stems else ""})
    return found


def _code(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def _scorecard(judged: pd.DataFrame | None) -> str:
    if judged is None:
        return to_html("## Scorecard\n\nNotebook 09 has not run in this profile.")
    shown = pd.DataFrame({
        "claim": _claims(judged),
        "verdict": judged.verdict.map(MARKS) + " " + judged.verdict,
        "measured": judged.measured,
    })  # fmt: skip
    papers = judged.whose == THE_PAPER
    counts = judged.verdict[papers].value_counts()
    tally = ", ".join(f"{count} {word}" for word, count in counts.items())
    said = f"## Scorecard\n\nOf the paper's {papers.sum()} claims: {tally}. The rules are on page 09.\n\n"
    ours = to_html("Findings of our own:\n\n") + _wide(shown[~papers]) if not papers.all() else ""
    return to_html(said) + _wide(shown[papers]) + ours


def _wide(frame: pd.DataFrame) -> str:
    soup = BeautifulSoup(to_html(markdown(frame)), "html.parser")
    in_boxes(soup)
    return str(soup)


def _provenance(setting: Setting, notebooks: dict[str, nbformat.NotebookNode]) -> str:
    """What was computed, where, when and for how long: from the executed notebooks, and from the profile's runs."""
    pages = pd.DataFrame(
        [(stem, f"{took.get('duration') or 0:,.0f} s", str(took.get("end_time", ""))[:16].replace("T", " "))
         for stem, took in ((stem, notebook.metadata.get("papermill", {})) for stem, notebook in notebooks.items())],
        columns=["notebook", "took", "finished (UTC)"],
    )  # fmt: skip
    runs = finished(everything_of(notebooks, setting))  # of no others, whose data would be looked for
    said = [run.provenance for run in runs]
    versions = {f"{name} {number}" for run in said for name, number in run["versions"].items()}
    sums = {f"`{file}` {md5}" for run in said for file, md5 in run["data"]["md5"].items()}
    lines = [
        f"- profile {setting.profile.name}, seeds {', '.join(map(str, setting.seeds))}",
        f"- data: {', '.join(sorted({run['data']['title'] for run in said})) or 'none'}",
        f"- {len(said)} runs, {sum(run['duration_s'] for run in said) / 3600:.1f} hours of one thread in all",
        f"- hardware: {'; '.join(sorted({run['hardware'] for run in said})) or 'none'}",
        f"- versions: {', '.join(sorted(versions))}",
        *(f"- MD5 {line}" for line in sorted(sums)),
    ]
    return to_html("## Provenance\n\n" + "\n".join(lines)) + _wide(pages)
