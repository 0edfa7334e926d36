"""The report: a page for each executed notebook and an index, as HTML that needs no network (nbconvert, MathML)."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from gfe_companion.evidence.claims import NO, NOT_MEASURED, PARTLY, UNDECIDED, YES
from gfe_companion.evidence.scorecard import THE_PAPER
from gfe_companion.runs.profiles import Setting, home
from gfe_companion.runs.store import finished
from gfe_companion.site.show import older_files
from gfe_companion.studies.needs import everything_of
from gfe_companion.studies.results import listed, markdown

MARKS = {YES: "✓", PARTLY: "◐", UNDECIDED: "?", NO: "✗", NOT_MEASURED: "–"}


class Damaged(Exception):
    """An executed notebook is not as it was made, which the text says."""


def build(setting: Setting) -> Path | None:
    """Write build/<profile>/report/ from the executed notebooks that are there; returns its index.html, or None.

    The folder is written aside and put in place when whole; nothing is done where it is newer than all it is made of.
    Raises :class:`Damaged`.
    """
    source = home() / "build" / setting.profile.name
    notebooks = {
        path.stem: _read(path) for path in sorted(source.glob("[0-9][0-9]_*.ipynb")) if ".failed" not in path.name
    }
    if not notebooks:
        return None
    report, aside = source / "report", source / ".report"
    sources = [
        *source.glob("[0-9][0-9]_*.ipynb"),
        *setting.figures.glob("[!.]*"),
        *Path(__file__).parent.glob("report.*"),
    ]
    if (report / "index.html").exists() and (report / "index.html").stat().st_mtime > max(
        map(os.path.getmtime, sources)
    ):
        return report / "index.html"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "figures").mkdir(parents=True)
    titles = {
        stem: _plain(notebook.cells[0].source.splitlines()[0].lstrip("# ")) for stem, notebook in notebooks.items()
    }
    for stem, notebook in notebooks.items():
        (aside / f"{stem}.html").write_text(_page(titles[stem], _body(notebook), titles, stem), encoding="utf-8")
    parts = [_introduction(setting), _scorecard(setting), _gallery(setting, notebooks, titles, aside / "figures")]
    body = "\n".join([*parts, _provenance(setting, notebooks)])
    (aside / "index.html").write_text(_page("Gradient flow encoding", body, titles, None), encoding="utf-8")
    shutil.rmtree(report, ignore_errors=True)
    aside.rename(report)
    return report / "index.html"


def _read(path: Path) -> nbformat.NotebookNode:
    """The executed notebook at ``path``. Raises :class:`Damaged` where it is not what its stamp says."""
    name, sums = str(path.relative_to(home())), {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # without a stamp it is what an earlier call left
        sums = dict(json.loads((path.parent / "stamps" / f"{path.stem}.json").read_text(encoding="utf-8"))["made"])
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == sums.get(name) or name not in sums:
            return nbformat.reads(content.decode(), as_version=4)
    except Exception:  # of many kinds, as the file may hold anything
        pass
    raise Damaged(f"{name} is damaged: call again with --only {path.name[:2]}")


class _WithMath(IPythonRenderer):
    """Markdown to HTML with formulas as MathML, which browsers draw themselves."""

    def block_math(self, body: str) -> str:
        return f'<div class="math">{convert(body.strip(), display="block")}</div>'

    def inline_math(self, body: str) -> str:
        return convert(body.strip())


def to_html(source: str) -> str:
    """Markdown with LaTeX formulas as HTML with MathML."""
    renderer = _WithMath(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer).render(source)


def _body(notebook: nbformat.NotebookNode) -> str:
    exporter = HTMLExporter(template_name="basic")
    exporter.register_filter("markdown2html", to_html)
    body, _ = exporter.from_notebook_node(notebook)
    return re.sub(r'\.ipynb(?=["#])', ".html", body)  # links between notebooks become links between pages


def _plain(title: str) -> str:
    """A title where no mathematics can be drawn: $z^*$ becomes z*."""
    return re.sub(r"\$([^$]*)\$", lambda formula: formula[1].replace("^", "").replace("\\", ""), title)


def _page(title: str, body: str, titles: dict[str, str], current: str | None) -> str:
    """A whole HTML page with navigation at its head and foot."""
    links = [("index.html", "Index", current is None)]
    links += [(f"{stem}.html", stem[:2], stem == current) for stem in titles]
    navigation = " ".join(
        f'<a href="{to}" title="{html.escape(titles.get(to[:-5], text))}"{" aria-current=page" * here}>{text}</a>'
        for to, text, here in links
    )
    order = [None, *titles]
    place = order.index(current)
    onward = order[place + 1] if place + 1 < len(order) else None
    foot = f'<a href="{onward}.html">Next: {html.escape(titles[onward])}</a>' if onward else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_style()}\n</style>\n</head>\n<body>\n"
        f"<nav>{navigation}</nav>\n<main>\n{body}\n</main>\n<footer>{foot}</footer>\n</body>\n</html>\n"
    )


def _style() -> str:
    colors = HTMLExporter(template_name="basic")
    _, resources = colors.from_notebook_node(nbformat.v4.new_notebook())
    highlighting = "\n".join(resources["inlining"]["css"])
    return highlighting + (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def _introduction(setting: Setting) -> str:
    older = older_files(setting.figures)
    banner = f"\n\n> **Of older code.** These rest on runs that were computed by older code: {listed(older)}."
    return to_html(
        "# Gradient flow encoding: the report\n\n"
        "Flouris, Volokitin, Bredell, Konukoglu: *Gradient flow encoding with distance optimization adaptive step "
        "size*, [arXiv 2105.05031](https://arxiv.org/abs/2105.05031), rebuilt by its companion. "
        f"Profile **{setting.profile.name}**." + banner * bool(older)
    )


def _scorecard(setting: Setting) -> str:
    path = setting.figures / "scorecard.csv"
    if not path.exists():
        return to_html("## Scorecard\n\nNotebook 09 has not run in this profile.")
    try:
        judged = pd.read_csv(path, keep_default_na=False).astype({"whose": str, "text": str, "section": str})
        judged = judged[["whose", "text", "section", "verdict", "measured"]]
    except (ValueError, KeyError) as error:
        raise Damaged(f"{path.relative_to(home())} is damaged: call again with --only 09") from error
    shown = pd.DataFrame({
        "claim": "\u201c" + judged.text + "\u201d (Sec. " + judged.section + ")",
        "verdict": judged.verdict.map(MARKS) + " " + judged.verdict,
        "measured": judged.measured,
    })  # fmt: skip
    papers = judged.whose == THE_PAPER
    shown.loc[~papers, "claim"] = judged.text + " (" + judged.section + ")"
    counts = judged.verdict[papers].value_counts()
    tally = ", ".join(f"{count} {word}" for word, count in counts.items())
    said = f"## Scorecard\n\nOf the paper's {papers.sum()} claims: {tally}. The rules are on page 09.\n\n"
    ours = to_html("Findings of our own:\n\n") + _wide(shown[~papers]) if not papers.all() else ""
    return to_html(said) + _wide(shown[papers]) + ours


def _wide(frame: pd.DataFrame) -> str:
    return f'<div class="wide">{to_html(markdown(frame))}</div>'


def _gallery(setting: Setting, notebooks: dict, titles: dict[str, str], folder: Path) -> str:
    """Every figure that the notebooks show, with its words for those who cannot see it, linked to its page."""
    tiles = []
    for stem, notebook in notebooks.items():
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        for output in outputs:
            made = output.get("metadata", {}).get("made", {})
            picture = setting.figures / f"{made.get('name')}.png"
            if "image/png" in output.get("data", {}) and picture.exists():
                shutil.copy(picture, folder)
                alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
                tiles.append(
                    f'<figure><a href="{stem}.html"><img src="figures/{picture.name}" alt="{alt}" loading="lazy"></a>'
                    f"<figcaption><b>{picture.stem}</b> · {stem[:2]}: {html.escape(titles[stem])}</figcaption></figure>"
                )
    return "<h2>Gallery</h2>\n" + '<div class="gallery">\n' + "\n".join(tiles) + "\n</div>"


def _provenance(setting: Setting, notebooks: dict) -> str:
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
