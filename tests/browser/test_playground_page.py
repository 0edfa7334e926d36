"""The playground in the report, as a visitor meets it: from a file, without a network, by mouse, touch and keys."""

import re
from contextlib import contextmanager

import pytest

from gfe_companion.lessons.playground.fragment import fragment

LIMIT = 3e6  # bytes of the whole page
SIZES = {"wide": (1280, 900), "narrow": (390, 800)}
HASH = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, i) => (sum * 31 + value * (i % 7 + 1)) % 1000003, 7);
}"""
HEAD = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Playground</title>'
VIEW = '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main><h1>Playground</h1>'


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(f"{HEAD}{VIEW}{fragment()}</main></body></html>", encoding="utf-8")
    assert path.stat().st_size < LIMIT
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page; afterwards it must have said no error, and asked for nothing."""

    @contextmanager
    def open_(size="wide", **more):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **more)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        context.close()
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []

    return open_


def settled(page):
    """The words in which the open panel says how the races ended."""
    status = page.locator(".gfe-status:visible")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.gfe-status')].some((e) => /trials/.test(e.textContent))"
    )
    return status.text_content()


def seen(page):
    """What stands on the picture of the first solver."""
    return page.locator(".gfe-Encode figure canvas").nth(1).evaluate(HASH)


def changes(page, act):
    """What stands there after `act` is another picture."""
    before = seen(page)
    act()
    picture = "document.querySelectorAll('.gfe-Encode figure canvas')[1]"
    page.wait_for_function(f"before => ({HASH})({picture}) !== before", arg=before)


@pytest.mark.parametrize("size", SIZES)
def test_it_solves_as_soon_as_it_is_there_and_nothing_sticks_out(opened, size):
    with opened(size) as page:
        assert re.search(r"AMD: 0\.\d+ after \d+ trials.*quasi-Newton: 0\.\d+", settled(page))
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.locator("#playground > img").count() == 0


def test_drawing_choosing_and_erasing_change_what_is_solved(opened):
    with opened() as page:
        settled(page)
        box = page.locator(".gfe-pen").bounding_box()

        def draw():
            page.get_by_role("button", name="Clear").click()
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.2 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"], steps=8)
            page.mouse.up()

        changes(page, draw)
        changes(page, lambda: page.get_by_role("button", name="the digit 3").click())
        changes(page, lambda: page.get_by_label("Erase").select_option("lower"))
        assert "erased half" in page.locator(".gfe-Encode figcaption").nth(1).text_content()


def test_playing_stepping_and_scrubbing(opened):
    with opened() as page:
        settled(page)
        trial = page.get_by_role("slider", name="trial", exact=True)
        changes(page, lambda: trial.fill("2"))
        assert page.locator(".gfe-said:visible").text_content().startswith("trial 2 of")
        changes(page, lambda: page.get_by_role("button", name="one trial on").click())
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
        changes(page, lambda: page.get_by_label("number of trials").fill("5"))


def test_by_keyboard_alone(opened):
    with opened() as page:
        settled(page)
        pen = page.locator(".gfe-pen")
        pen.focus()

        def draw():
            for key in (*["Space", "ArrowUp"] * 6, *["Space", "ArrowLeft"] * 6):
                page.keyboard.press(key)

        changes(page, draw)
        page.get_by_role("tab", name="Encode an image").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".gfe-Walk").is_visible()
        page.keyboard.press("ArrowRight")
        page.locator(".gfe-map").focus()
        before = settled(page)
        page.keyboard.press("ArrowLeft")
        assert page.locator(".gfe-Toy .gfe-status").text_content() != before


def test_by_touch(opened):
    with opened("narrow", has_touch=True, is_mobile=True) as page:
        settled(page)
        box = page.locator(".gfe-pen").bounding_box()
        changes(page, lambda: page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4))


def test_walking_between_two_images(opened):
    with opened() as page:
        page.get_by_role("tab", name="Walk between two").click()
        page.wait_for_function("() => document.querySelector('.gfe-Walk figure canvas').width === 28")
        canvas = page.locator(".gfe-Walk figure canvas").first
        before = canvas.evaluate(HASH)
        page.get_by_label("the way from one to the other").fill("3")
        assert canvas.evaluate(HASH) != before
        assert "15 % of the way from 0 to 1" in canvas.get_attribute("aria-label")


def test_dragging_the_start_on_the_toy(opened):
    with opened() as page:
        page.get_by_role("tab", name="Two latents").click()
        before = settled(page)
        box = page.locator(".gfe-map").bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 90)
        page.mouse.up()
        status = page.locator(".gfe-Toy .gfe-status")
        assert status.text_content() != before and status.text_content().startswith("From (-")


def test_it_answers_within_a_tenth_of_a_second(opened):
    """From a movement of a slider to the next picture on the screen: the median of twenty."""
    with opened() as page:
        settled(page)
        took = page.evaluate("""async () => {
            const slider = document.querySelectorAll(".gfe-slider input")[1];
            const times = [];
            for (let i = 0; i < 20; i++) {
                slider.value = Number(slider.min) + (i % 5 + 1) * (slider.max - slider.min) / 6;
                const before = performance.now();
                slider.dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
                times.push(performance.now() - before);
                await new Promise((rest) => setTimeout(rest, 300));
            }
            return times.sort((a, b) => a - b);
        }""")
        assert took[len(took) // 2] < 100, took


def test_without_scripts_a_picture_stands_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    picture = page.locator("#playground > img")
    assert picture.is_visible() and "autoencoder" in picture.get_attribute("alt")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_follows_the_colours_of_the_page(opened, scheme):
    with opened(color_scheme=scheme) as page:
        settled(page)
        before = page.locator(".gfe-drawn").first.evaluate(HASH)
        page.evaluate("document.body.style.color = 'rgb(200, 0, 0)'")
        page.wait_for_function(f"before => ({HASH})(document.querySelector('.gfe-drawn')) !== before", arg=before)
