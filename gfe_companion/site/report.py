"""The report: a site of a front page, a page for each executed notebook and their sources, that needs no network."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup

from gfe_companion.runs.profiles import ROOT, Setting, home
from gfe_companion.site.figures import collected
from gfe_companion.site.front import Damaged, front
from gfe_companion.site.glossary import PAGE, Glossary
from gfe_companion.site.pages import Page, framed, headings, imports_of
from gfe_companion.site.sources import ROOMS, Sources
from gfe_companion.site.stamps import checksum, made_by

__all__ = ["Damaged", "build"]
ASSETS = Path(__file__).parent / "assets"
INDEX = "index"


def build(setting: Setting) -> Path | None:
    """Write build/<profile>/report/ from the executed notebooks that are there; returns its index.html, or None.

    The folder is written aside and put in place when whole; nothing is done where it is newer than all it is made of.
    Raises :class:`Damaged`.
    """
    source = home() / "build" / setting.name
    paths = [path for path in sorted(source.glob("[0-9][0-9]_*.ipynb")) if ".failed" not in path.name]
    notebooks = {path.stem: _read(path) for path in paths}
    if not notebooks:
        return None
    report, aside = source / "report", source / ".report"
    if _is_newer(report / "index.html", [*source.glob("[0-9][0-9]_*.ipynb"), *setting.figures.glob("[!.]*")]):
        return report / "index.html"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _write(aside, setting, notebooks)
    shutil.rmtree(report, ignore_errors=True)
    aside.rename(report)
    return report / "index.html"


def _write(folder: Path, setting: Setting, notebooks: dict[str, nbformat.NotebookNode]) -> None:
    """All pages of the report and what they need, into ``folder``."""
    shutil.copytree(ASSETS, folder / "assets")
    shown = collected(notebooks, setting.figures, folder)
    pages = {stem: Page(notebook, shown) for stem, notebook in notebooks.items()}
    sources = Sources(ROOT)
    glossary = Glossary(pages[PAGE].soup) if PAGE in pages else None
    frame = partial(framed, pages={stem: page.title for stem, page in pages.items()})
    order = [INDEX, *pages, None]
    anchors = {stem: page.anchors() for stem, page in pages.items()}
    for place, (stem, page) in enumerate(pages.items(), 1):
        if glossary and stem != PAGE:
            glossary.explain(page.soup)
        page.name_sources(imports_of(notebooks[stem], ROOT))
        contents = page.finish(anchors, sources)
        before = order[place - 1] if place > 1 else None
        around: dict[str, Any] = {
            "current": stem,
            "contents": contents,
            "folds": True,
            "before": before,
            "after": order[place + 1],
        }
        whole = frame(page.plain, str(page.soup), **around)
        (folder / f"{stem}.html").write_text(whole, encoding="utf-8")
    sources.write(folder, frame)
    body = front(setting, notebooks, pages, shown)
    soup = BeautifulSoup(body, "html.parser")
    contents = headings(soup)
    whole = frame("Gradient flow encoding", str(soup), current=INDEX, contents=contents, after=order[1])
    (folder / "index.html").write_text(whole, encoding="utf-8")


def _is_newer(index: Path, made_of: list[Path]) -> bool:
    """Whether the report is newer than ``made_of``, its own code and all files of the repository that it may show."""
    rooms = [path for room in (*ROOMS, "notebooks") for path in (ROOT / room).rglob("*")]
    paths = [*made_of, *(path for path in rooms if path.is_file() and path.suffix != ".pyc")]
    return index.exists() and index.stat().st_mtime > max(map(os.path.getmtime, paths))


def _read(path: Path) -> nbformat.NotebookNode:
    """The executed notebook at ``path``. Raises :class:`Damaged` where it is not what its stamp says."""
    made = made_by(path.parent / "stamps" / f"{path.stem}.json") or {}  # else it is what an earlier call left
    try:
        if made.get(path) in (None, checksum(path)):
            return nbformat.read(path, as_version=4)
    except Exception:  # of many kinds, as the file may hold anything
        pass
    raise Damaged(f"{path.relative_to(home())} is damaged: call again with --only {path.name[:2]}")
