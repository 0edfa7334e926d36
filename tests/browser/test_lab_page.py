"""JupyterLab in a real browser, as a reader meets it: notebook 01 run from the menu, the playground, and git."""

import base64
import io
import json
import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress

import numpy as np
import PIL.Image
import pytest
from browsing import ANSWER_MS, faults, listened, screen, tried

from gfe_companion.cli.lab import FIRST
from gfe_companion.runs.profiles import ROOT

pytestmark = pytest.mark.slow
TOKEN = "of-the-tests"
CENTRED = "(picture) => picture.scrollIntoView({ block: 'center' })"
SOON, LATE = 60, 180  # seconds: until something is there, and until a notebook has run
PARAMETERS = {'"quick"': "smoke", '"auto"': "embedded"}  # words of the cell of parameters, and what they become


def until(condition, seconds=SOON):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{condition.__name__} is not so after {seconds} s"
        time.sleep(0.1)
    return found


def is_cut_off(picture):
    """Whether something stands at the left or right edge of a PNG in base64."""
    pixels = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"))
    return pixels[:, [0, -1]].min() < 200


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab as ./run_all.sh --lab starts it: its address, and the folder of the reader's copies."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [ROOT / "run_all.sh", "--lab", "--", "--no-browser", f"--port={port}", "--allow-root"]
    environ = os.environ | {"GFE_HOME": str(home), "JUPYTER_TOKEN": TOKEN}
    address = f"http://localhost:{port}"

    def answers():
        assert server.poll() is None, (home / "lab.log").read_text()
        try:
            return urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).status == 200
        except OSError:
            return False

    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(answers)
            yield address, home / "lab"
        finally:
            server.terminate()
            server.wait(30)


def changed():
    """What git sees of notebooks and figures that is not as it was committed."""
    command = ["git", "status", "--porcelain", "--", "notebooks", "figures", "README.md"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


class Opened:
    """A notebook that a double click on its name has opened, or JupyterLab itself, as the first page."""

    def __init__(self, page, folder, name, first=False):
        self.page, self.path = page, folder / name
        if not first:
            page.locator(".jp-DirListing-item", has_text=name).dblclick()
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        page.locator(".lm-DockPanel-tabBar .lm-mod-current", has_text=name).wait_for()
        self.panel.locator("h1").first.wait_for()

    def menu(self, name, entry):
        """Choose an entry of a menu."""
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(name, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def replace(self, word, new):
        """Double-click a word of the code, and type another in its place."""
        self.panel.locator(".cm-line", has_text=":").get_by_text(word, exact=True).first.dblclick()
        self.page.keyboard.type(new)

    def show(self, place):
        """Scroll to a picture, by its place among them."""
        for _ in range(2):  # what comes before gets its height as it comes into view
            self.panel.locator(".jp-RenderedImage img").nth(place).evaluate(CENTRED)
            self.page.wait_for_timeout(500)
        self.page.mouse.move(0, 0)

    def run(self):
        """Run all cells, save, and return them as they are on the disk."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.menu("Run", "Run All Cells")

        def saved():
            self.menu("File", "Save Notebook")
            self.page.wait_for_timeout(2000)  # saving is work too, for the browser and the server
            with suppress(ValueError):  # it is being written
                cells = [cell for cell in json.loads(self.path.read_text())["cells"] if cell["cell_type"] == "code"]
                return cells if all(cell["execution_count"] for cell in cells) else None

        return until(saved, LATE)


@contextmanager
def reader(browser, lab):
    address, folder = lab
    with listened(browser, f"{address}/?token={TOKEN}", said=[]) as page:
        page.set_default_timeout(1000 * SOON)
        Opened(page, folder, FIRST, first=True)
        page.get_by_text("| Idle").wait_for()
        yield page, folder


def test_page_00_is_open_and_notebook_01_runs_from_the_menu(browser, lab):
    before = changed()
    with reader(browser, lab) as (page, folder):
        screen(page, "start_page")
        assert page.locator(".lm-TabBar-tab").count() and not page.locator(".lm-TabBar-tab.jp-mod-dirty").count()
        notebook = Opened(page, folder, "01_encoding_as_gradient_flow.ipynb")
        for word, new in PARAMETERS.items():
            notebook.replace(word, new)
        cells = notebook.run()
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert [each["evalue"] for each in outputs if each["output_type"] == "error"] == []
        shown = [each for each in outputs if "image/png" in each.get("data", {})]
        pictures = [each["metadata"]["image/png"]["alt"] for each in shown]
        assert len(pictures) >= 5
        assert [alt for alt, each in zip(pictures, shown, strict=True) if is_cut_off(each["data"]["image/png"])] == []
        assert "Profile **smoke**" in str(outputs)
        notebook.show(next(i for i, alt in enumerate(pictures) if "strip of reconstructions" in alt))
        screen(page, "notebook_01")
    assert changed() == before
    assert (folder.parent / "figures" / "smoke" / "fig1.png").is_file()


def test_the_playground_answers_from_the_kernel(browser, lab):
    before = changed()
    with reader(browser, lab) as (page, folder):
        notebook = Opened(page, folder, "playground.ipynb")
        notebook.run()
        place = notebook.panel.locator(".gfe-playground").first
        tried(page, place, "lab_playground")
        assert faults(page, ".gfe-playground") == []
        place.get_by_role("tab", name="Encode an image").click()
        slider = place.get_by_label("number of trials")
        before_key = int(slider.input_value())
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert int(slider.input_value()) == before_key + 1, "JupyterLab takes the arrow keys for its own"
        assert place.locator(".gfe-drawn").first.evaluate(ANSWER_MS) < 100
    assert changed() == before
