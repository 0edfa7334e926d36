"""Markdown with formulas as HTML: formulas become MathML, which browsers draw themselves, and headings get anchors."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

from bs4 import BeautifulSoup
from latex2mathml.converter import convert
from mistune.toc import add_toc_hook
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TEX = "data-tex"  # holds the source of an inline formula until the page is finished


class _WithMath(IPythonRenderer):
    """Markdown to HTML with formulas as MathML."""

    def block_math(self, body: str) -> str:
        return f'<div class="math">{convert(body.strip(), display="block")}</div>'

    def inline_math(self, body: str) -> str:
        return convert(body.strip()).replace("<math", f'<math {TEX}="{html.escape(body.strip())}"', 1)


def to_html(source: str) -> str:
    """Markdown with LaTeX formulas as HTML with MathML; every heading has the :func:`slug` of its source as its id.

    An inline formula keeps its source in the attribute :data:`TEX`.
    """
    markdown = MarkdownWithMath(_WithMath(escape=False, exclude_anchor_links=True))
    add_toc_hook(markdown, max_level=6, heading_id=lambda heading, _: slug(heading["text"]))
    return markdown.render(source)


def inline(source: str) -> str:
    """One line of Markdown as HTML, without the paragraph around it and the sources of its formulas."""
    soup = BeautifulSoup(to_html(source), "html.parser")
    without_sources(soup)
    return soup.p.decode_contents() if soup.p else str(soup)


def plain(source: str) -> str:
    """One line of Markdown where nothing can be drawn, such as the title of a window: $z^*$ becomes z*."""
    return BeautifulSoup(to_html(source), "html.parser").get_text().strip()


def slug(heading: str) -> str:
    """The anchor of a heading, from its source or from a link to it as Jupyter writes links.

    "What does $s_{max}$ do?" and "What-does-%24s_%7Bmax%7D%24-do?" both become what-does-s-max-do.
    """
    return re.sub(r"[\W_]+", "-", unquote(heading).lower()).strip("-") or "part"


def without_sources(soup: BeautifulSoup) -> None:
    """Take the sources of formulas out of ``soup``, in which they have served."""
    for formula in soup.find_all("math", attrs={TEX: True}):
        del formula[TEX]
