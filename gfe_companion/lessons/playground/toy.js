// The toy of notebook 01: drag z(0) over the loss of a decoder with two latents.
import { toyObjective, TOY_TRUTH } from "./backends.js";
import { Player } from "./controls.js";
import { drawn, element } from "./dom.js";
import { graph, WHY } from "./encode.js";
import { drawCurve, drawLine, frameAt, lengthOf, until } from "./pictures.js";

const [LEFT, RIGHT, LOW, HIGH] = [-1.5, 2.5, -1.5, 2.5]; // what of the plane is shown
const FINE = 160; // tiles of the landscape along a side
const TALL = 360;
const PALE = [253, 234, 69]; // cividis, from its ends
const DEEP = [0, 32, 77];

export class Toy2D {
  constructor(backend, settings, looks) {
    Object.assign(this, { backend, settings, looks, start: [0, 0], races: [], cancel: () => {}, dragged: false });
    this.tiles = landscape();
    this.player = new Player(() => this.show());
    this.map = drawn(TALL, (context, width, height) => this.draw(context, width, height), {
      tabIndex: 0,
      className: "gfe-drawn gfe-map",
      role: "application",
      "aria-label": "the loss over the two latents: drag the start z(0), or move it with the arrow keys",
    });
    this.curve = drawn(TALL, (context, width, height) => {
      drawCurve(context, width, height, this.races, looks, this.player.trials, null);
    }, { "aria-label": "the loss against decoder passes" });
    this.status = element("p", { className: "gfe-status", role: "status" });
    this.listen(this.map.canvas);
    this.panel = element(
      "div",
      {},
      element(
        "div",
        { className: "gfe-graphs" },
        graph(this.map.canvas, "the landscape l(y, D(z)): drag z(0)"),
        graph(this.curve.canvas, "the loss"),
      ),
      this.player.line,
      this.status,
    );
  }

  listen(canvas) {
    const take = (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.from(LEFT + x * (RIGHT - LEFT), HIGH - y * (HIGH - LOW));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.dragged = true;
      take(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.dragged) take(event);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.dragged = false));
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
      if (!moves[event.key]) return;
      event.preventDefault();
      this.from(this.start[0] + moves[event.key][0], this.start[1] + moves[event.key][1]);
    });
  }

  from(a, b) {
    this.start = [Math.min(Math.max(a, LEFT), RIGHT), Math.min(Math.max(b, LOW), HIGH)];
    this.solve();
  }

  solve() {
    this.cancel();
    this.player.follow();
    const request = { toy: this.start, penalty: 0, ...this.settings.request };
    this.cancel = this.backend.encode(request, (races, done, error) => {
      if (error) this.status.textContent = error;
      if (!races.length) return;
      this.races = races;
      this.player.reach(lengthOf(races));
      if (!done) return;
      const told = races.map(({ name, frames, status }) => {
        const { loss, trials } = frames[frames.length - 1];
        return `${name}: ${loss.toFixed(4)} after ${trials} trials (${WHY[status] ?? status})`;
      });
      this.status.textContent = `From (${this.start.map((x) => x.toFixed(2)).join(", ")}). ${told.join("; ")}.`;
      this.curve.canvas.setAttribute("aria-label", `The loss against decoder passes. ${told.join("; ")}.`);
    });
  }

  show() {
    this.map.again();
    this.curve.again();
  }

  draw(context, width, height) {
    const x = (a) => ((a - LEFT) / (RIGHT - LEFT)) * width;
    const y = (b) => ((HIGH - b) / (HIGH - LOW)) * height;
    context.imageSmoothingEnabled = true;
    context.drawImage(this.tiles, 0, 0, width, height);
    this.races.forEach((race) => {
      const points = until(race, this.player.trials).map(({ z: [a, b] }) => [x(a), y(b)]);
      drawLine(context, points, { color: "#ffffff", width: 4 });
      drawLine(context, points, this.looks[race.name]);
      const [a, b] = frameAt(race, this.player.trials).z;
      context.fillStyle = this.looks[race.name].color;
      context.beginPath();
      context.arc(x(a), y(b), 5, 0, 2 * Math.PI);
      context.fill();
    });
    mark(context, x(TOY_TRUTH[0]), y(TOY_TRUTH[1]), "z*");
    mark(context, x(this.start[0]), y(this.start[1]), "z(0)");
  }
}

function mark(context, x, y, text) {
  context.fillStyle = "#ffffff";
  context.strokeStyle = "#000000";
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 6, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  context.lineWidth = 3;
  context.strokeStyle = "#ffffff";
  context.fillStyle = "#000000";
  context.strokeText(text, x + 10, y - 6);
  context.fillText(text, x + 10, y - 6);
}

// The loss above the lowest one on a scale of powers of ten, in bands, as an image.
function landscape() {
  const objective = toyObjective();
  const lowest = objective.value(Float64Array.from(TOY_TRUTH));
  const canvas = element("canvas", { width: FINE, height: FINE });
  const context = canvas.getContext("2d");
  const image = context.createImageData(FINE, FINE);
  for (let i = 0; i < FINE * FINE; i++) {
    const a = LEFT + (((i % FINE) + 0.5) / FINE) * (RIGHT - LEFT);
    const b = HIGH - ((Math.floor(i / FINE) + 0.5) / FINE) * (HIGH - LOW);
    const above = Math.log10(Math.max(objective.value(Float64Array.of(a, b)) - lowest, 1e-4));
    const share = Math.min(Math.max((above + 3.5) / 4, 0), 1);
    const shade = Math.round(share * 12) / 12;
    image.data.set([...PALE.map((pale, j) => pale + shade * (DEEP[j] - pale)), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
