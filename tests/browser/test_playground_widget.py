"""The playground in a notebook's home: the page's half in a browser, the kernel's half in this process, as one."""

import base64
import json
import re

import pytest

from gfe_companion.lessons.playground import module
from gfe_companion.lessons.playground.widget import Playground

MODEL = """
const view = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(""));
const traits = TRAITS;
traits.digits = view(traits.digits);
const model = {
  get: (name) => traits[name],
  on: (_, hear) => (model.hear = hear),
  off: () => {},
  send: async (content, _, buffers) => {
    const [answer, sent] = await window.kernel(content, buffers.map(text));
    model.hear(answer, sent.map(view));
  },
};
render({ model, el: document.getElementById("here") });
"""


@pytest.fixture
def page(browser):
    widget, said, sent = Playground(), [], []
    widget.send = lambda answer, buffers: sent.append((answer, buffers))

    def kernel(content, buffers):
        widget._hear(widget, content, [memoryview(base64.b64decode(each)) for each in buffers])
        answer, binary = sent.pop()
        return [answer, [base64.b64encode(each).decode() for each in binary]]

    names = ("solvers", "presets", "looks", "labels")
    traits = {name: getattr(widget, name) for name in names}
    traits["digits"] = base64.b64encode(widget.digits).decode()
    script = module.source() + MODEL.replace("TRAITS", json.dumps(traits))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("pageerror", lambda error: said.append(str(error)))
    page.expose_function("kernel", kernel)
    page.set_content(f'<style>{module.style()}</style><div id="here"></div><script type="module">{script}</script>')
    yield page
    page.close()
    assert said == []


def says(page, pattern):
    page.wait_for_function(
        "pattern => [...document.querySelectorAll('.gfe-status')].some((e) => new RegExp(pattern).test(e.textContent))",
        arg=pattern,
    )


def test_the_kernel_solves_whatever_the_page_asks(page):
    says(page, r"AMD: 0\.\d+ after \d+ trials.*quasi-Newton: 0\.\d+")
    page.get_by_label("against", exact=True).select_option(label="Levenberg-Marquardt")
    says(page, r"Levenberg-Marquardt: 0\.\d+")
    page.get_by_role("button", name="the paper's values").click()
    page.get_by_label("Erase").select_option("left")
    says(page, r"Levenberg-Marquardt: 0\.\d+")
    page.get_by_role("tab", name="Walk between two").click()
    page.wait_for_function("() => /50 % of the way/.test(document.querySelector('.gfe-Walk figure canvas').ariaLabel)")
    page.get_by_role("tab", name="Two latents").click()
    says(page, r"From \(0\.00, 0\.00\)")
    assert re.search(r"AMD: 0\.\d+", page.locator(".gfe-Toy .gfe-status").text_content())
