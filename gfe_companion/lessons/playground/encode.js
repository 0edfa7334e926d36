// Encode an image: draw or choose it, erase half of it, and watch two solvers and the autoencoder.
import { Player } from "./controls.js";
import { button, choice, drawn, element } from "./dom.js";
import { Pen } from "./pen.js";
import { crossEntropy, drawCurve, drawLatents, frameAt, lengthOf, paint, SIDE } from "./pictures.js";

const ERASED = [
  ["none", "nothing"],
  ["lower", "the lower half"],
  ["upper", "the upper half"],
  ["left", "the left half"],
  ["right", "the right half"],
];
const PRIOR = 1e-3; // of half an image: the prior decides what the rest leaves open

function maskOf(erased) {
  if (erased === "none") return null;
  return Float64Array.from({ length: SIDE * SIDE }, (_, i) => {
    const [row, column] = [Math.floor(i / SIDE), i % SIDE];
    const half = { lower: row >= 14, upper: row < 14, left: column < 14, right: column >= 14 };
    return half[erased] ? 0 : 1;
  });
}

export class Encode {
  constructor(backend, settings, looks) {
    Object.assign(this, { backend, settings, looks, races: [], mask: null, cancel: () => {}, guessed: null });
    this.pen = new Pen(() => this.solve());
    this.player = new Player((trials) => this.show(trials));
    const curve = drawn(220, (context, width, height) => {
      const level = this.guessed && !this.mask ? crossEntropy(this.guessed, this.pen.pixels, null, 1) : null;
      drawCurve(context, width, height, this.races, looks, this.player.trials, level);
    }, { "aria-label": "the loss against decoder passes" });
    const latents = drawn(220, (context, width, height) => {
      drawLatents(context, width, height, this.races, looks, this.player.trials);
    }, { "aria-label": "the entries of the latent" });
    Object.assign(this, { curve, latents });
    this.shown = ["a", "b", "autoencoder"].map(() => {
      const canvas = element("canvas", { role: "img", "aria-label": "a reconstruction" });
      return { canvas, name: element("b"), said: element("span") };
    });
    this.status = element("p", { className: "gfe-status", role: "status" });
    this.panel = element(
      "div",
      {},
      element(
        "div",
        { className: "gfe-pictures" },
        figure(this.pen.canvas, element("b", { textContent: "image" }), element("span", { textContent: "draw on it" })),
        ...this.shown.map(({ canvas, name, said }) => figure(canvas, name, said)),
      ),
      this.chooser(),
      this.player.line,
      element(
        "div",
        { className: "gfe-graphs" },
        graph(curve.canvas, "the loss"),
        graph(latents.canvas, "the latent z"),
      ),
      this.status,
    );
  }

  chooser() {
    const digits = this.backend.digits.map(({ label, pixels }) => {
      const picture = element("canvas");
      paint(picture, pixels);
      const onclick = () => this.pen.take(pixels);
      return element("button", { type: "button", "aria-label": `the digit ${label}`, onclick }, picture);
    });
    const erase = choice("Erase", ERASED, "none", (erased) => {
      this.pen.mask = this.mask = maskOf(erased);
      this.pen.again();
      this.solve();
    });
    const clear = button("Clear", () => this.pen.take(new Float64Array(SIDE * SIDE)));
    const centre = button("Centre", () => this.pen.centre());
    return element(
      "div",
      { className: "gfe-row gfe-digits", role: "group", "aria-label": "choose an image" },
      ...digits, clear, centre, erase,
    );
  }

  // Encode the image anew; what is shown follows as it is found.
  solve() {
    this.cancel();
    this.player.follow();
    const [image, mask] = [Float64Array.from(this.pen.pixels), this.mask];
    const seen = mask ? image.map((value, i) => value * mask[i]) : image;
    const asked = (this.asked = Symbol("question"));
    this.backend.guess(seen).then((picture) => {
      if (this.asked !== asked) return;
      this.guessed = picture;
      this.show(this.player.trials);
    });
    const request = { image: seen, mask, penalty: mask ? PRIOR : 0, ...this.settings.request };
    this.cancel = this.backend.encode(request, (races, done, error) => {
      if (error) this.status.textContent = error;
      if (!races.length) return;
      this.races = races;
      this.player.reach(lengthOf(races));
      if (done) this.status.textContent = this.summary();
    });
  }

  show(trials) {
    this.races.forEach((race, place) => {
      const frame = frameAt(race, trials);
      this.tell(this.shown[place], race.name, this.backend.picture(frame), frame.loss);
    });
    if (this.guessed) this.tell(this.shown[2], "autoencoder", this.guessed);
    this.curve.again();
    this.latents.again();
  }

  // One picture, whose it is, and how well it fits what was seen, and what was not; `whole` is its loss on all pixels.
  tell({ canvas, name, said }, whose, picture, whole = crossEntropy(picture, this.pen.pixels, null, 1)) {
    paint(canvas, picture);
    name.textContent = whose;
    name.style.setProperty("--look", this.looks[whose].color);
    const loss = (this.mask ? crossEntropy(picture, this.pen.pixels, this.mask, 1) : whole).toFixed(3);
    const hidden = this.mask ? `, erased half ${crossEntropy(picture, this.pen.pixels, this.mask, 0).toFixed(3)}` : "";
    said.textContent = `loss ${loss}${hidden}`;
    canvas.setAttribute("aria-label", `reconstruction by ${whose}: ${said.textContent}`);
  }

  summary() {
    const told = this.races.map(({ name, frames, status }) => {
      const { loss, passes, trials } = frames[frames.length - 1];
      return `${name}: ${loss.toFixed(4)} after ${trials} trials, ${passes} decoder passes (${WHY[status] ?? status})`;
    });
    this.curve.canvas.setAttribute("aria-label", `The loss against decoder passes. ${told.join("; ")}.`);
    this.latents.canvas.setAttribute("aria-label", `The ${frameAt(this.races[0], 0).z.length} entries of the latent.`);
    return `${told.join("; ")}.`;
  }
}

export const WHY = {
  REACHED_TAU: "t = τ is reached",
  CONVERGED: "the curve is flat",
  STALLED: "no step lowers the loss",
  BUDGET_SPENT: "its trials are spent",
};

export function figure(canvas, ...caption) {
  return element("figure", {}, canvas, element("figcaption", {}, ...caption));
}

export function graph(canvas, text) {
  return element("div", {}, element("div", { className: "gfe-title", textContent: text }), canvas);
}
