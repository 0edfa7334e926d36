"""The symbols and words that page 00 explains, explained wherever else they stand: on hover, on focus, or by a tap."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from bs4 import BeautifulSoup, NavigableString, Tag

from gfe_companion.site.prose import TEX, slug

PAGE = "00_start_here"
TABLES = ("symbols", "words")  # the headings that its two tables stand under
NOT_IN = ("a", "button", "code", "h1", "h2", "h3", "h4", "math", "pre", "style", "summary", "th")
WORD, SYMBOL = "word", "symbol"


@dataclass(frozen=True)
class Entry:
    """A row of a table of page 00 . ``anchor`` of its row there . ``meaning`` in HTML."""

    anchor: str
    meaning: str


class Glossary:
    """What page 00 explains; made from its body, in which each row gets an anchor."""

    def __init__(self, soup: BeautifulSoup) -> None:
        self.words: dict[str, Entry] = {}
        self.symbols: dict[str, Entry] = {}
        self._anchors: Counter[str] = Counter()
        for table in filter(None, (_table_below(soup, heading) for heading in TABLES)):
            for row in table.find_all("tr"):
                if len(cells := row.find_all("td")) >= 2:
                    self._take(row, cells[0], cells[1])
        names = sorted(self.words, key=len, reverse=True)
        starts = [f"[{name[0].upper()}{name[0].lower()}]{re.escape(name[1:])}" for name in names if name[1:].islower()]
        whole = [re.escape(name) for name in names if not name[1:].islower()]
        either = "|".join(sorted([*starts, *whole], key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w-])({either})(?:s|es)?(?![\w-])") if either else None

    def _take(self, row: Tag, term: Tag, meaning: Tag) -> None:
        names = [(SYMBOL, str(formula[TEX])) for formula in term.find_all("math", attrs={TEX: True})]
        if not names:
            names = [(WORD, name.strip()) for name in term.get_text().split(",") if name.strip()]
        for kind, name in names[:1]:
            anchor = f"{kind}-{slug(name.replace('*', ' star'))}"
            self._anchors[anchor] += 1  # h and H have the same
            row["id"] = anchor if self._anchors[anchor] == 1 else f"{anchor}-{self._anchors[anchor]}"
        for kind, name in names:
            of_kind = self.symbols if kind == SYMBOL else self.words
            of_kind.setdefault(name, Entry(str(row["id"]), meaning.decode_contents()))

    def explain(self, soup: BeautifulSoup) -> None:
        """Make a link of each symbol and word where it stands first in a section, and add the meanings, hidden."""
        seen: set[str] = set()
        used: dict[str, Entry] = {}
        for node in list(soup.descendants):
            if isinstance(node, Tag):
                if node.name == "h2":
                    seen.clear()
                    continue
                entry = self.symbols.get(str(node.get(TEX)))
                if entry and entry.anchor not in seen and _is_prose(node):
                    link = _link(soup, entry)
                    link["aria-label"] = node.get_text()  # a formula alone gives a link no name
                    node.wrap(link)
                    seen.add(entry.anchor)
                    used[entry.anchor] = entry
            elif self._pattern and type(node) is NavigableString and self._pattern.search(node) and _is_prose(node):
                self._mark(soup, node, seen, used)
        if used:
            soup.append(_meanings(soup, used))

    def _mark(self, soup: BeautifulSoup, text: NavigableString, seen: set[str], used: dict[str, Entry]) -> None:
        parts: list[NavigableString | Tag] = []
        end = 0
        for found in self._pattern.finditer(text) if self._pattern else ():
            entry = self.words.get(found[1]) or self.words.get(found[1][0].lower() + found[1][1:])
            if entry is None or entry.anchor in seen:
                continue
            seen.add(entry.anchor)
            used[entry.anchor] = entry
            link = _link(soup, entry)
            link.string = found[0]
            parts += [NavigableString(text[end : found.start()]), link]
            end = found.end()
        if parts:
            text.replace_with(*parts, NavigableString(text[end:]))


def _is_prose(node: Tag | NavigableString) -> bool:
    return bool(node.find_parent(["p", "li", "td"])) and not node.find_parent(NOT_IN)


def _link(soup: BeautifulSoup, entry: Entry) -> Tag:
    address = {"href": f"{PAGE}.ipynb#{entry.anchor}", "aria-describedby": f"about-{entry.anchor}"}
    return soup.new_tag("a", attrs={"class": "term", **address})


def _meanings(soup: BeautifulSoup, used: dict[str, Entry]) -> Tag:
    """The meanings, which only programs that read aloud and the page's script look up."""
    box = soup.new_tag("div", attrs={"class": "meanings", "hidden": ""})
    for anchor, entry in used.items():
        meaning = soup.new_tag("div", attrs={"id": f"about-{anchor}"})
        meaning.append(BeautifulSoup(entry.meaning, "html.parser"))
        box.append(meaning)
    return box


def _table_below(soup: BeautifulSoup, heading: str) -> Tag | None:
    found = soup.find(id=heading)
    return found.find_next("table") if isinstance(found, Tag) else None
