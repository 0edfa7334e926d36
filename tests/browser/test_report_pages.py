"""The report in a real browser: every page and link, at the width of a phone and of a desk, for everybody."""

from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from browsing import SIZES, faults, listened, overflow, screen, settled, tried
from committed import NOTEBOOKS

READ = """() => ({
  links: [...document.links].map((link) => link.href),
  ids: [...document.querySelectorAll("[id]")].map((each) => each.id),
})"""
UNFOLD = "document.querySelectorAll('details').forEach((each) => (each.open = true))"


def path_of(address):
    return Path(unquote(urlparse(address).path))


def test_every_link_leads_somewhere_and_no_page_sticks_out(browser, report):
    links, ids, told, ahead = [], {}, [], [(report / "index.html").as_uri()]
    with listened(browser, ahead[0]) as page:
        while ahead:
            address = ahead.pop()
            if address in ids:
                continue
            page.goto(address)
            for size, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                told += [f"{path_of(address).name}, {size}: {out} px"] if (out := overflow(page)) else []
            page.evaluate(UNFOLD)  # at the width of a phone
            told += [f"{path_of(address).name}, code shown: {out} px"] if (out := overflow(page)) else []
            read = page.evaluate(READ)
            ids[address] = set(read["ids"])
            links += [(address, link) for link in read["links"]]
            ours = {urldefrag(link).url for link in read["links"] if link.startswith("file:")}
            ahead += [link for link in ours if link.endswith(".html")]
    assert len(ids) > len(NOTEBOOKS) and told == []
    for address, link in links:
        target, anchor = urldefrag(link)
        if target.startswith("file:"):
            assert path_of(target).is_file(), f"{address} leads to {link}"
            assert not anchor or unquote(anchor) in ids[target], f"{address} leads to {link}"
        else:
            assert target.startswith("https://"), f"{address} leads to {link}"


@pytest.mark.parametrize(("scheme", "rules"), [("light", None), ("dark", ["color-contrast"])])
def test_no_serious_fault_of_access(browser, report, scheme, rules):
    pages = [report / "index.html", *report.glob("[0-9][0-9]_*.html"), report / "source" / "gfe_core" / "amd.py.html"]
    told = []
    with listened(browser, None, color_scheme=scheme) as page:
        for path in pages:
            page.goto(path.as_uri())
            page.evaluate(UNFOLD)
            told += [f"{path.name}: {fault}" for fault in faults(page, rules=rules)]
    assert len(pages) == len(NOTEBOOKS) + 2 and told == []


@pytest.mark.parametrize("size", SIZES)
def test_the_front_page_is_drawn_on_solved_and_scrubbed(browser, report, size):
    with listened(browser, (report / "index.html").as_uri(), size) as page:
        place = page.locator("#playground")
        assert "AMD" in settled(place)
        screen(page, f"report_{size}")
        tried(page, place, f"report_playground_{size}")
        assert overflow(page) == 0
