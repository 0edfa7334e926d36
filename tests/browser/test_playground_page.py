"""The playground in the frame of the report, as a visitor meets it: by mouse, touch and keys, or without scripts."""

import re
import shutil

import pytest
from browsing import ANSWER_MS, HASH, SIZES, box_of, changes, draw, faults, listened, overflow, picture, settled

from gfe_companion.lessons.playground.fragment import fragment
from gfe_companion.site.pages import framed
from gfe_companion.site.report import ASSETS

LIMIT = 3e6  # bytes of the whole page


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(ASSETS, folder / "assets")
    path = folder / "index.html"
    path.write_text(framed("Playground", f"<h1>Playground</h1>{fragment()}", pages={}), encoding="utf-8")
    assert path.stat().st_size < LIMIT
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    return lambda size="wide", **more: listened(browser, address, size, **more)


@pytest.mark.parametrize("size", SIZES)
def test_it_solves_as_soon_as_it_is_there_and_nothing_sticks_out(opened, size):
    with opened(size) as page:
        assert re.search(r"AMD: 0\.\d+ after \d+ trials.*quasi-Newton: 0\.\d+", settled(page))
        for tab in page.get_by_role("tab").all():
            tab.click()
            assert overflow(page) == 0, tab.text_content()
        assert page.locator("#playground > img").count() == 0


def test_drawing_choosing_and_erasing_change_what_is_solved(opened):
    with opened() as page:
        settled(page)
        shown = picture(page)
        page.get_by_role("button", name="Clear").click()
        changes(shown, lambda: draw(page, page))
        changes(shown, lambda: page.get_by_role("button", name="the digit 3").click())
        changes(shown, lambda: page.get_by_label("Erase").select_option("lower"))
        assert "erased half" in page.locator(".gfe-Encode figcaption").nth(1).text_content()


def test_playing_stepping_and_scrubbing(opened):
    with opened() as page:
        settled(page)
        shown, trial = picture(page), page.get_by_role("slider", name="trial", exact=True)
        changes(shown, lambda: trial.fill("2"))
        assert page.locator(".gfe-said:visible").text_content().startswith("trial 2 of")
        changes(shown, lambda: page.get_by_role("button", name="one trial on").click())
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("() => document.querySelector('.gfe-said').textContent.startsWith('trial 9')")
        page.get_by_role("button", name="Pause").click()
        assert page.get_by_role("button", name="Play").is_visible()


def test_sliders_and_presets_change_the_race(opened):
    with opened() as page:
        first = settled(page)
        page.get_by_role("button", name="the paper's values").click()
        page.wait_for_function("first => document.querySelector('.gfe-status').textContent !== first", arg=first)
        assert page.get_by_label("s_max").evaluate("slider => 10 ** slider.value") == pytest.approx(10)
        changes(picture(page), lambda: page.get_by_label("number of trials").fill("5"))


def test_by_keyboard_alone(opened):
    with opened() as page:
        settled(page)
        pen = page.locator(".gfe-pen")
        pen.focus()

        def drawn():
            for key in (*["Space", "ArrowUp"] * 6, *["Space", "ArrowLeft"] * 6):
                page.keyboard.press(key)

        changes(picture(page), drawn)
        page.get_by_role("tab", name="Encode an image").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".gfe-Walk").is_visible()
        page.keyboard.press("ArrowRight")
        page.locator(".gfe-map").focus()
        before = settled(page)
        page.keyboard.press("ArrowLeft")
        assert page.locator(".gfe-Toy .gfe-status").text_content() != before


def test_by_touch(opened):
    """A tap leaves a dot, and a finger that is dragged draws a line and does not scroll the page."""
    with opened("narrow", has_touch=True, is_mobile=True) as page:
        settled(page)
        shown, fingers = picture(page), page.context.new_cdp_session(page)
        box = box_of(page.locator(".gfe-pen"))
        x, y, side = box["x"], box["y"], box["width"]
        changes(shown, lambda: page.touchscreen.tap(x + side / 4, y + side / 4))

        def drag():
            for kind, at in (("touchStart", 0.2), *(("touchMove", 0.2 + 0.1 * i) for i in range(1, 7))):
                points = [{"x": x + side / 2, "y": y + at * side}]
                fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        scrolled = page.evaluate("scrollY")
        changes(page.locator(".gfe-pen"), drag)
        assert page.evaluate("scrollY") == scrolled


def test_walking_between_two_images(opened):
    with opened() as page:
        page.get_by_role("tab", name="Walk between two").click()
        page.wait_for_function("() => document.querySelector('.gfe-Walk figure canvas').width === 28")
        canvas = page.locator(".gfe-Walk figure canvas").first
        changes(canvas, lambda: page.get_by_label("the way from one to the other").fill("3"))
        assert "15 % of the way from 0 to 1" in canvas.get_attribute("aria-label")


def test_dragging_the_start_on_the_toy(opened):
    with opened() as page:
        page.get_by_role("tab", name="Two latents").click()
        before = settled(page)
        box = box_of(page.locator(".gfe-map"))
        page.mouse.move(box["x"] + 30, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 90)
        page.mouse.up()
        status = page.locator(".gfe-Toy .gfe-status")
        assert status.text_content() != before and status.text_content().startswith("From (-")


def test_it_answers_within_a_tenth_of_a_second(opened):
    with opened() as page:
        settled(page)
        assert page.locator(".gfe-drawn").first.evaluate(ANSWER_MS) < 100


def test_without_scripts_a_picture_stands_there(opened):
    with opened(java_script_enabled=False) as page:
        still = page.locator("#playground > img")
        assert still.is_visible() and "autoencoder" in still.get_attribute("alt")
        assert still.bounding_box()["width"] > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_access_on_any_tab(opened, scheme):
    with opened(color_scheme=scheme) as page:
        settled(page)
        for tab in page.get_by_role("tab").all():
            tab.click()
            assert faults(page) == [], tab.text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_follows_the_colours_of_the_page(opened, scheme):
    with opened(color_scheme=scheme) as page:
        settled(page)
        before = page.locator(".gfe-drawn").first.evaluate(HASH)
        page.evaluate("document.body.style.color = 'rgb(200, 0, 0)'")
        page.wait_for_function(f"before => ({HASH})(document.querySelector('.gfe-drawn')) !== before", arg=before)
