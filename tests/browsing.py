"""What the tests in a browser share: pages that are listened to, pictures that change, and faults of access."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path

SIZES = {"wide": (1280, 900), "narrow": (390, 800)}
HERE = re.compile(r"(file|data|blob|about):|(http|ws)://localhost[:/]")
SCREENS = os.environ.get("GFE_SCREENS")  # a folder for pictures of what the tests see
GRAVE = ("serious", "critical")  # of axe-core's four grades
STICKS_OUT = "(part) => part.scrollWidth - part.clientWidth"
HASH = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, i) => (sum * 31 + value * (i % 7 + 1)) % 1000003, 7);
}"""
BECOMES_ANOTHER = f"""async (canvas, before) => {{
  const end = performance.now() + 20000;
  while (({HASH})(canvas) === before && performance.now() < end) await new Promise((next) => setTimeout(next, 20));
  return ({HASH})(canvas) !== before;
}}"""
# Milliseconds from a movement of a slider to the next picture, the least of twenty: both homes answer after a fixed
# time of solving, wherever the slider stands, and other work on the machine can only add to that.
ANSWER_MS = f"""async (canvas) => {{
  const slider = canvas.closest(".gfe-playground").querySelectorAll(".gfe-slider input")[1];
  let least = Infinity;
  for (let i = 0; i < 20; i++) {{
    const before = ({HASH})(canvas);
    slider.value = Number(slider.min) + (i % 5 + 1) * (slider.max - slider.min) / 6;
    const moved = performance.now();
    slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
    const given_up = moved + 2000;
    while (({HASH})(canvas) === before && performance.now() < given_up) await new Promise(requestAnimationFrame);
    least = Math.min(least, performance.now() - moved);
    await new Promise((rest) => setTimeout(rest, 300));
  }}
  return least;
}}"""


@contextmanager
def listened(browser, address, size="wide", said=None, **more):
    """A page at ``address``; afterwards it must have said no error, and asked for nothing beyond this machine.

    ``said`` takes the errors where they are not for this function to judge; ``more``: of the browser's context.
    """
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **more)
    page, errors, asked = context.new_page(), [] if said is None else said, []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    if address:
        page.goto(address)
    yield page
    context.close()
    assert [url for url in asked if not HERE.match(url)] == []
    if said is None:
        assert errors == []


def screen(page, name):
    """Keep a picture of ``page`` if somebody wants to look at it."""
    if SCREENS:
        Path(SCREENS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENS) / f"{name}.png")


def overflow(page):
    """By how many pixels ``page`` sticks out sideways."""
    return page.locator("html").evaluate(STICKS_OUT)


def faults(page, part=None, rules=None):
    """What axe-core finds in ``page``, or in the ``part`` of it, that keeps somebody from using it, a line each.

    ``rules``: the names of those that are tried; all without it.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {"preload": False, "resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = Axe().run(page, context=part, options=options).response["violations"]
    return [
        f"{each['id']}: {node['html'][:150]}: {node['failureSummary']}"
        for each in found if each["impact"] in GRAVE for node in each["nodes"]
    ]  # fmt: skip


# --- the playground, in whichever home; `place` is what holds it


def settled(place):
    """The words in which the open panel says how the races ended."""
    status = place.locator(".gfe-status:visible", has_text="trials")
    status.wait_for()
    return status.text_content()


def picture(place):
    """What the first solver makes of the image."""
    return place.locator(".gfe-Encode figure canvas").nth(1)


def anew(place, act):
    """Wait, after ``act``, until the panel says how other races ended."""
    before = settled(place)
    act()
    place.locator(".gfe-status:visible").filter(has_not_text=before).wait_for()


def changes(canvas, act):
    """What stands on ``canvas`` after ``act`` is another picture."""
    before = canvas.evaluate(HASH)
    act()
    assert canvas.evaluate(BECOMES_ANOTHER, before)


def box_of(part):
    """Where ``part`` stands on the screen, once it does."""
    part.scroll_into_view_if_needed()
    return part.bounding_box()


def draw(page, place):
    """Draw a stroke with the mouse on an empty image."""
    box = box_of(place.locator(".gfe-pen"))
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + 0.8 * box["height"], steps=8)
    page.mouse.up()


def tried(page, place, name):
    """Scrub, move a slider, draw and erase: each time the picture is another one. Pictures are kept as ``name``."""
    shown, trial = picture(place), place.get_by_role("slider", name="trial", exact=True)
    settled(place)
    screen(page, f"{name}_before")
    changes(shown, lambda: trial.fill("2"))
    assert place.locator(".gfe-said:visible").text_content().startswith("trial 2 of")
    changes(shown, lambda: anew(place, lambda: place.get_by_label("number of trials").fill("12")))
    losses = re.findall(r"(?:^|; ).*?: (\d+\.\d{4})", settled(place))
    told = place.locator(".gfe-Encode figcaption span").all_text_contents()[1:3]
    for loss, caption in zip(losses, told, strict=True):
        assert abs(float(loss) - float(caption.removeprefix("loss "))) < 6e-4, "a caption and the curve say the same"
    screen(page, f"{name}_moved")
    anew(place, lambda: place.get_by_role("button", name="Clear").click())
    changes(shown, lambda: anew(place, lambda: draw(page, place)))
    screen(page, f"{name}_drawn")
    changes(shown, lambda: anew(place, lambda: place.get_by_label("Erase").select_option("lower")))
    assert "erased half" in place.locator(".gfe-Encode figcaption").nth(1).text_content()
    screen(page, f"{name}_erased")
    for tab in place.get_by_role("tab").all():
        tab.click()
        assert place.evaluate(STICKS_OUT) == 0, tab.text_content()
