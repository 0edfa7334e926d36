"""The report of the committed notebooks: every link resolves offline, and each page can be read by everybody."""

import re
from itertools import product
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup
from committed import NOTEBOOKS
from fontTools.ttLib import TTFont

from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site.glossary import Glossary
from gfe_companion.site.pages import Page, in_boxes
from gfe_companion.site.prose import plain, slug, to_html

ASSETS = ROOT / "gfe_companion" / "site" / "assets"


@pytest.fixture(scope="module")
def site(report):
    """The folder of the report of what is committed, and its pages."""
    return report, {path: BeautifulSoup(path.read_text(), "html.parser") for path in report.rglob("*.html")}


def test_nothing_is_fetched_and_no_link_dangles(site):
    _, pages = site
    for path, soup in pages.items():
        for tag, name in product(soup.find_all(True), ("href", "src", "srcset")):
            address = tag.get(name, "")
            if not address or address.startswith("data:"):
                continue
            if re.match(r"\w+:|//", address):
                assert tag.name == "a", f"{path.name} fetches {address}"
                continue
            file, _, anchor = address.partition("#")
            target = (path.parent / unquote(file)).resolve() if file else path
            assert target.is_file(), f"{path.name} leads to {address}"
            if anchor and target.suffix == ".html" and not anchor.startswith("line-"):
                assert pages[target].find(id=unquote(anchor)), f"{path.name} leads to {address}"


def test_the_notebooks_link_to_headings_that_are_there():
    """Their text; an output may be of an older run."""
    texts = {path.name: _text(path) for path in NOTEBOOKS}
    for name, text in texts.items():
        for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
            ids = re.findall(r'id="([^"]+)"', to_html(texts[file or name]))
            assert slug(anchor) in ids, f"{name} leads to {file}#{anchor}"


def _text(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_every_page_has_its_landmarks_one_title_and_no_id_twice(site):
    for path, soup in site[1].items():
        assert len(soup.find_all("h1")) == 1, path.name
        assert len(soup.find_all("main")) == len(soup.find_all("header")) == len(soup.find_all("footer")) == 1
        ids = [tag["id"] for tag in soup.find_all(id=True)]
        assert len(ids) == len(set(ids)), path.name
        assert soup.body.find("a")["href"] == "#" + soup.main["id"], "the first link skips to the content"
        assert soup.html["lang"] == "en" and soup.title.get_text()
        described = {tag["aria-describedby"] for tag in soup.find_all(attrs={"aria-describedby": True})}
        assert described <= set(ids)
        assert all(image.get("alt") for image in soup.find_all("img")), path.name
        assert all(table.find_parent(class_="wide") for table in soup.main.find_all("table")), path.name


def test_a_page_has_its_contents_and_folded_code(site):
    folder, pages = site
    front = pages[folder / "index.html"]
    assert [link["href"][1:] for link in front.select("nav.contents a")] == [h["id"] for h in front.main.find_all("h2")]
    for notebook in NOTEBOOKS:
        soup = pages[folder / f"{notebook.stem}.html"]
        listed = [link["href"][1:] for link in soup.select("nav.contents a")]
        assert listed == [heading["id"] for heading in soup.main.find_all(["h2", "h3"])] and listed
        titles = [link.get_text() for link in soup.select("nav.pages a")]
        assert len(titles) == len(NOTEBOOKS) and not [title for title in titles if re.match(r"\d", title)]
        assert len(soup.select("nav.pages a[aria-current]")) == 1
        shown = [c for c in nbformat.read(notebook, as_version=4).cells if "install" not in c.metadata.get("tags", [])]
        cells = [c for c in shown if c.cell_type == "code" and c.source.strip()]
        folded = soup.select("details.code")
        assert len(folded) == len(cells) and not [details for details in folded if details.has_attr("open")]
        assert soup.find("button", id="fold") and soup.find("button", id="dark")
        for figure in soup.main.find_all("figure"):
            assert figure.find("img")["alt"] in figure.figcaption.get_text()
            assert figure.find("img")["width"], "else anchors move while pictures load"


def test_the_front_page_opens_with_what_was_found_and_the_routes(site):
    soup = site[1][site[0] / "index.html"]
    headings = [heading["id"] for heading in soup.main.find_all("h2")]
    first = ["try-it", "what-was-found", "which-way-through", "the-pages", "scorecard", "gallery", "provenance"]
    assert headings == first
    assert "an hour" in soup.find(id="which-way-through").find_next("table").get_text()


def test_three_findings_are_the_rulebooks(tmp_path, monkeypatch):
    from gfe_companion.evidence.scorecard import statements
    from gfe_companion.site import front

    assert set(front.FINDINGS) <= set(statements()) and len(front.FINDINGS) == 3
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    setting = Setting.of("smoke", "embedded", device="cpu")
    setting.figures.mkdir(parents=True)
    (setting.figures / "scorecard.csv").write_text(
        "claim,section,text,verdict,measured,whose\nfew_images,5,b,partly,7 of 9,the paper\nother,5,d,partly,3,ours\n"
    )
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    (found,) = front._findings(front._judged(setting), notebooks)
    assert found["verdict"] == "partly" and found["measured"] == "7 of 9" and found["stem"] == "05_data_efficiency"


def test_words_of_page_00_are_explained_where_they_first_stand(site):
    folder, pages = site
    soup = pages[folder / "01_encoding_as_gradient_flow.html"]
    terms = soup.select("a.term")
    assert {"basin", "AMD"} <= {term.get_text() for term in terms}
    symbols = soup.select("a.term:has(> math)")
    assert symbols and all(term["aria-label"] for term in symbols)
    assert not soup.select("pre a.term, h2 a.term, a a.term, code a.term")
    basin = next(term for term in terms if term.get_text() == "basin")
    assert "all starts" in soup.find(id=basin["aria-describedby"]).get_text()
    assert pages[folder / "00_start_here.html"].find(id=basin["href"].partition("#")[2]).name == "tr"


def test_a_word_is_found_whole_and_once_a_section():
    def page(text):
        return Page(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), {}).soup

    glossary = Glossary(page("# T\n\n## Words\n\n| a | b |\n| --- | --- |\n| stiff | hard |\n| AE, BFGS | nets |\n"))
    soup = page("# stiff\n\nStiff, stiffness, ae and AEs. `stiff` stiff.\n\n## Next\n\nstiff\n")
    glossary.explain(soup)
    assert [term.get_text() for term in soup.select("a.term")] == ["Stiff", "AEs", "stiff"]


def test_anchors_are_those_that_jupyter_links_to():
    assert slug("What do $s_{max}$ and $\\beta$ do?") == slug("What-do-%24s_%7Bmax%7D%24-and-%24%5Cbeta%24-do?")
    assert 'id="a-b"' in to_html("## A *b*")
    assert plain("Is $z^* \\neq 0$?") == "Is z*≠0?"


def test_no_line_begins_with_the_punctuation_after_a_formula(site):
    soup = site[1][site[0] / "01_encoding_as_gradient_flow.html"]
    assert len(soup.select("span.held > math, span.held > a.term > math")) > 10
    for formula in soup.main.find_all("math", display="inline"):
        after = formula.next_sibling
        assert formula.find_parent(class_="held") or not re.match(r"[.,;:?!)]", str(after or "")), str(after)


def test_the_method_can_be_read_offline(site):
    folder, pages = site
    assert "class" in pages[folder / "source" / "gfe_core" / "amd.py.html"].main.get_text()
    behind = pages[folder / "01_encoding_as_gradient_flow.html"].find(id="code-behind-this-page").find_next("ul")
    assert behind.find("a", href="source/gfe_core/amd.py.html")


def _luminance(color):
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_the_contrast_of_wcag_aa_in_both_themes():
    text = "".join((ASSETS / name).read_text() for name in ("report.css", "code.css"))
    pairs = {name: pair for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", text)}
    inks = ("ink", "faint", "link", "comment", "keyword", "string", "number", "name")
    for ink, ground, theme in product(inks, ("back", "box"), (0, 1)):
        dark, light = sorted(_luminance(pairs[name][theme]) for name in (ink, ground))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {ground}"


def test_styles_and_scripts_ask_for_nothing_from_elsewhere():
    for path in [*ASSETS.glob("*.css"), *ASSETS.glob("*.js")]:
        assert not re.search(r"https?://|@import|url\((?!\"[\w.]+\"\))|fetch\(|XMLHttp", path.read_text()), path.name


def test_intervals_in_tables_stay_on_a_line():
    soup = BeautifulSoup(to_html("a ± b\n\n| loss |\n| --- |\n| **0.1 ± 0.2** |"), "html.parser")
    in_boxes(soup)
    assert soup.p.text == "a ± b" and soup.td.text == "0.1\u00a0±\u00a00.2"


def test_formulas_have_the_font_that_places_their_indices(site):
    folder, pages = site
    style = (folder / "assets" / "report.css").read_text()
    font = folder / "assets" / re.search(r'@font-face[^}]*url\("([^"]+)"\)', style)[1]
    with TTFont(font) as opened:
        drawn, tables = opened.getBestCmap(), set(opened.keys())
    assert "MATH" in tables and (folder / "assets" / "math.LICENSE.txt").exists()
    used = {sign for soup in pages.values() for formula in soup.find_all("math") for sign in formula.get_text()}
    assert not {sign for sign in used if sign.strip() and ord(sign) not in drawn}
