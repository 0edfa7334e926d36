// Walk from one encoded image to another in a straight line, in the latent space and, for comparison, in the pixels.
import { element, slider } from "./dom.js";
import { figure } from "./encode.js";
import { frameAt, paint } from "./pictures.js";

const STOPS = 20; // pictures between the two
const SHOWN = 7; // of them, in a row
const TRIALS = 80;

export class Walk {
  constructor(backend) {
    Object.assign(this, { backend, chosen: [0, 1], at: STOPS / 2, latents: [], pixels: [], cancel: () => {} });
    this.latent = element("canvas", { role: "img", "aria-label": "what the decoder makes of the mixed latents" });
    this.mixed = element("canvas", { role: "img", "aria-label": "the mixed pixels" });
    this.rows = [0, 1].map(() => Array.from({ length: SHOWN }, () => element("canvas", { "aria-hidden": "true" })));
    const move = slider({
      text: "the way from one to the other",
      from: 0,
      to: STOPS,
      value: this.at,
      whole: true,
      onmove: (at) => {
        this.at = at;
        this.show();
      },
    });
    const row = (text, canvases) => {
      return element("div", { className: "gfe-strip" }, element("span", { textContent: text }), ...canvases);
    };
    this.panel = element(
      "div",
      {},
      this.chooser(0, "from"),
      this.chooser(1, "to"),
      move.line,
      element(
        "div",
        { className: "gfe-pictures gfe-two" },
        figure(this.latent, element("b", { textContent: "latents mixed, then decoded" })),
        figure(this.mixed, element("b", { textContent: "pixels mixed" })),
      ),
      row("latents", this.rows[0]),
      row("pixels", this.rows[1]),
    );
  }

  chooser(which, text) {
    const buttons = this.backend.digits.map(({ label, pixels }, place) => {
      const picture = element("canvas");
      paint(picture, pixels);
      const onclick = () => {
        this.chosen[which] = place;
        buttons.forEach((each, i) => each.setAttribute("aria-pressed", i === place));
        this.solve();
      };
      const told = { "aria-label": `${text} the digit ${label}`, "aria-pressed": place === this.chosen[which] };
      return element("button", { type: "button", onclick, ...told }, picture);
    });
    const named = element("span", { textContent: text, className: "gfe-side" });
    return element("div", { className: "gfe-row gfe-digits", role: "group", "aria-label": text }, named, ...buttons);
  }

  // Encode both images by the second solver, the faster one, and decode every stop between them.
  async solve() {
    this.cancel();
    const asked = (this.asked = Symbol("question"));
    const images = this.chosen.map((place) => this.backend.digits[place].pixels);
    const ends = [];
    for (const image of images) {
      ends.push(await this.encoded(image));
      if (this.asked !== asked) return;
    }
    const mix = ([a, b], share) => a.map((value, i) => (1 - share) * value + share * b[i]);
    const shares = Array.from({ length: STOPS + 1 }, (_, i) => i / STOPS);
    const latents = await this.backend.decode(shares.map((share) => mix(ends, share)));
    if (this.asked !== asked) return;
    this.latents = latents;
    this.pixels = shares.map((share) => mix(images, share));
    this.show();
  }

  encoded(image) {
    return new Promise((found) => {
      const request = { image, mask: null, penalty: 0, racers: [1], trials: TRIALS, settings: {} };
      this.cancel = this.backend.encode(request, ([race], done) => {
        if (done) found(frameAt(race, Infinity).z);
      });
    });
  }

  show() {
    if (!this.latents.length) return;
    paint(this.latent, this.latents[this.at]);
    paint(this.mixed, this.pixels[this.at]);
    const labels = this.chosen.map((place) => this.backend.digits[place].label);
    const place = `${Math.round((100 * this.at) / STOPS)} % of the way from ${labels[0]} to ${labels[1]}`;
    this.latent.setAttribute("aria-label", `what the decoder makes of the mixed latents, ${place}`);
    this.mixed.setAttribute("aria-label", `the mixed pixels, ${place}`);
    this.rows.forEach((row, which) => {
      row.forEach((canvas, i) => {
        paint(canvas, [this.latents, this.pixels][which][Math.round((i * STOPS) / (SHOWN - 1))]);
      });
    });
  }
}
