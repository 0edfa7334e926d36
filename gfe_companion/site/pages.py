"""An executed notebook as the body of a page: cells, anchors, links that lead somewhere, tables that scroll alone."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from pathlib import Path

import jinja2
import nbformat
from bs4 import BeautifulSoup, NavigableString, Tag
from nbconvert import HTMLExporter
from traitlets.config import Config

from gfe_companion.site.figures import Shown
from gfe_companion.site.prose import inline, plain, slug, to_html, without_sources
from gfe_companion.site.sources import Sources, imported

TEMPLATES = Path(__file__).parent / "templates"
Contents = list[tuple[int, str, str]]  # a heading's level, anchor and text in HTML


class Page:
    """A notebook's page: ``title`` in HTML, ``plain`` for a window, ``answer`` in HTML, and its ``soup``."""

    def __init__(self, notebook: nbformat.NotebookNode, shown: dict[str, Shown]) -> None:
        first = notebook.cells[0].source
        self.title, self.plain = inline(_title(first)), plain(_title(first))
        found = re.search(r"^\*\*(.+)\*\*$", first, re.MULTILINE)
        self.answer = inline(found[1]) if found else ""
        body, _ = _exporter().from_notebook_node(notebook, resources={"shown": shown})
        self.soup = BeautifulSoup(body, "html.parser")

    def name_sources(self, paths: list[str]) -> None:
        """Add what the page imports from this repository."""
        if paths:
            listed = "\n".join(f"- [`{path}`](../{path})" for path in paths)
            self.soup.append(BeautifulSoup(to_html(f"## Code behind this page\n\n{listed}"), "html.parser"))

    def anchors(self) -> set[str]:
        """What a link can lead to within the page."""
        return {str(tag["id"]) for tag in self.soup.find_all(id=True)}

    def finish(self, anchors: dict[str, set[str]], sources: Sources) -> Contents:
        """Make links lead to places in the report, tables scroll alone, and anchors unique; returns the headings.

        ``anchors``: those of every page of the report. A link to another one, as an old output may have, leads to the
        head of its page.
        """
        for link in self.soup.find_all("a", href=True):
            _lead(link, anchors, sources)
        for code in self.soup.find_all("code"):
            if (address := _of_code(code, sources)) and not code.find_parent(["a", "pre", "summary"]):
                code.wrap(self.soup.new_tag("a", href=address))
        in_boxes(self.soup)
        without_sources(self.soup)
        _hold_together(self.soup)
        return headings(self.soup)


def framed(title: str, body: str, root: str = "", **more: object) -> str:
    """A whole page; ``root`` leads from it to the report's folder. ``more``: what else the template knows."""
    return rendered("page.html.j2", title=title, body=body, root=root, **more)


def rendered(template: str, **values: object) -> str:
    """A template of the report, filled with ``values``."""
    return _templates().get_template(template).render(values)


def in_boxes(soup: BeautifulSoup) -> None:
    """Put each table into a box in which it scrolls, so that the page itself does not; intervals stay on a line."""
    for table in soup.find_all("table"):
        for text in table.find_all(string=re.compile(" ± ")):
            text.replace_with(str(text).replace(" ± ", "\u00a0±\u00a0"))
        table.wrap(soup.new_tag("div", attrs={"class": "wide"}))


def table_below(soup: BeautifulSoup, anchor: str) -> str:
    """The first table below a heading, in its box; nothing where there is none."""
    heading = soup.find(id=anchor)
    table = heading.find_next("table") if isinstance(heading, Tag) else None
    return str(table.parent) if isinstance(table, Tag) else ""


def imports_of(notebook: nbformat.NotebookNode, root: Path) -> list[str]:
    """The files of the repository at ``root`` that ``notebook`` imports, but for those that every page does."""
    every = ("gfe_companion/site/show.py", "gfe_companion/runs/profiles.py")
    return [path for path in imported(notebook, root) if path not in every]


def _title(source: str) -> str:
    return source.splitlines()[0].lstrip("# ")


@lru_cache(maxsize=1)
def _exporter() -> HTMLExporter:
    left_out = Config(TagRemovePreprocessor={"enabled": True, "remove_cell_tags": {"install"}})
    where = {"template_file": "notebook.html.j2", "extra_template_paths": [str(TEMPLATES)]}
    exporter = HTMLExporter(template_name="basic", config=left_out, **where)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.register_filter("markdown2html", to_html)
    return exporter


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _lead(link: Tag, anchors: dict[str, set[str]], sources: Sources) -> None:
    """Make ``link``, as it stands in a notebook, lead to a place in the report; what is not there is no link."""
    address, _, part = str(link["href"]).partition("#")
    anchor = f"#{slug(part)}" if part else ""
    if re.match(r"(https?|mailto|data):", address) or "download" in link.attrs:
        return
    path = posixpath.normpath(posixpath.join("notebooks", address))
    stem = Path(path).stem
    if not address:
        link["href"] = anchor
    elif path.endswith(".ipynb") and stem in anchors:
        link["href"] = f"{stem}.html" + (anchor if anchor[1:] in anchors[stem] else "")
    elif found := sources.address(path):
        link["href"] = found
    else:
        link.unwrap()


def _of_code(code: Tag, sources: Sources) -> str | None:
    """Where a path of the repository in the text leads."""
    name = code.get_text()
    return sources.address(name) if re.fullmatch(r"[\w./]+(\.py|\.toml|/)", name) and not name.startswith("/") else None


def _hold_together(soup: BeautifulSoup) -> None:
    """Keep each formula on a line with the punctuation after it."""
    for formula in soup.find_all("math", display="inline"):
        held = formula.find_parent("a", class_="term") or formula
        after = held.next_sibling
        if isinstance(after, NavigableString) and after[:1] in set(".,;:?!)"):
            box = held.wrap(soup.new_tag("span", attrs={"class": "held"}))
            after.replace_with(str(after)[1:])
            box.append(str(after)[:1])


def headings(soup: BeautifulSoup) -> Contents:
    """The headings of a page below its title, each with an anchor of its own and a link to itself."""
    contents: Contents = []
    seen = {str(tag["id"]) for tag in soup.find_all(id=True) if tag.name not in ("h1", "h2", "h3", "h4")}
    for heading in soup.find_all(["h1", "h2", "h3", "h4"]):
        base = anchor = str(heading.get("id") or slug(heading.get_text()))
        number = 2
        while anchor in seen:
            anchor, number = f"{base}-{number}", number + 1
        seen.add(anchor)
        heading["id"] = anchor
        if heading.name in ("h2", "h3"):
            contents.append((int(heading.name[1]), anchor, heading.decode_contents()))
            mark = soup.new_tag("a", attrs={"class": "anchor", "href": f"#{anchor}", "aria-label": "Link to this part"})
            mark.string = "#"
            heading.append(mark)
    return contents
