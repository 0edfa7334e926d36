// The playground: in a notebook's page as an anywidget, whose kernel solves, and in the report, where the engine does.
import { Engine, Kernel } from "./backends.js";
import { Settings } from "./controls.js";
import { element } from "./dom.js";
import { Encode } from "./encode.js";
import { Toy2D } from "./toy.js";
import { Walk } from "./walk.js";
import { fromBase64, readWeights } from "./weights.js";

const TITLES = { Encode: "Encode an image", Walk: "Walk between two", Toy: "Two latents" };
let mounted = 0; // there may be several in a notebook

// Puts the playground into an element and returns what takes it away; presets are values of AMD's sliders, looks a
// colour and dashes by name.
export function mount(place, backend, { presets, looks }) {
  const number = ++mounted;
  let open = "Encode";
  const settings = new Settings(backend, presets, () => panels[open].solve());
  const panels = {
    Encode: new Encode(backend, settings, looks),
    Walk: new Walk(backend),
    Toy: new Toy2D(backend, settings, looks),
  };
  const names = Object.keys(panels);
  const tabs = names.map((name) => {
    const { panel } = panels[name];
    panel.id = `gfe-panel-${name}-${number}`;
    panel.className = `gfe-${name}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", `gfe-tab-${name}-${number}`);
    return element("button", {
      type: "button",
      id: `gfe-tab-${name}-${number}`,
      textContent: TITLES[name],
      role: "tab",
      "aria-controls": panel.id,
      onclick: () => choose(name),
    });
  });
  const list = element("div", { role: "tablist", className: "gfe-tabs", "aria-label": "what to try" }, ...tabs);
  list.addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: names.length - 1 }[key];
    if (!by) return;
    const next = (names.indexOf(open) + by) % names.length;
    choose(names[next]);
    tabs[next].focus();
  });

  function choose(chosen) {
    open = chosen;
    names.forEach((name, i) => {
      tabs[i].setAttribute("aria-selected", name === chosen);
      tabs[i].tabIndex = name === chosen ? 0 : -1;
      panels[name].panel.hidden = name !== chosen;
    });
    settings.block.hidden = chosen === "Walk";
    panels[chosen].solve();
  }

  const whole = element("div", { className: "gfe-playground" }, list, ...names.map((name) => panels[name].panel));
  // Without this mark on what has the focus JupyterLab takes the arrow keys to move through the cells.
  whole.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", ""));
  whole.append(settings.block);
  place.replaceChildren(whole);
  panels.Encode.pen.pixels = Float64Array.from(backend.digits[0].pixels);
  panels.Encode.pen.again();
  choose("Encode");
  return watchColours(whole);
}

// Canvases take their colours when they are drawn: draw them again when the page turns dark or light.
function watchColours(whole) {
  const again = () => {
    for (const each of whole.querySelectorAll(".gfe-drawn")) each.dispatchEvent(new Event("gfe-colours"));
  };
  const [scheme, page] = [window.matchMedia("(prefers-color-scheme: dark)"), new MutationObserver(again)];
  scheme.addEventListener("change", again);
  for (const part of [document.documentElement, document.body]) page.observe(part, { attributes: true });
  return () => {
    scheme.removeEventListener("change", again);
    page.disconnect();
  };
}

// In the report: the place holds a still picture until everything is there.
export async function mountReport(place, weights, setup) {
  return mount(place, new Engine(await readWeights(fromBase64(weights)), setup.solvers), setup);
}

// In a notebook.
function render({ model, el }) {
  const backend = new Kernel(model);
  const close = mount(el, backend, { presets: model.get("presets"), looks: model.get("looks") });
  return () => {
    close();
    backend.close();
  };
}

export default { render };
