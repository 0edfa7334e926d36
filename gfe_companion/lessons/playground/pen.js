// The image that is encoded: drawn on with a mouse, a finger, or the arrow keys and the space bar.
import { element } from "./dom.js";
import { paint, SIDE } from "./pictures.js";

const WIDE = 1.3; // pixels from the middle of the pen to its edge

export class Pen {
  constructor(onchange) {
    Object.assign(this, { onchange, pixels: new Float64Array(SIDE * SIDE), mask: null, last: null, cursor: [14, 14] });
    this.canvas = element("canvas", {
      className: "gfe-pen",
      tabIndex: 0,
      role: "application",
      "aria-label": "the image: draw by mouse or finger, or move by the arrow keys and draw by the space bar",
    });
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * SIDE - 0.5,
        ((event.clientY - box.top) / box.height) * SIDE - 0.5,
      ];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.last = place(event);
      this.stroke(this.last);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.last) this.stroke(place(event));
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.last = null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    for (const change of ["focus", "blur"]) this.canvas.addEventListener(change, () => this.again());
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") {
      this.last = null;
      this.stroke(this.cursor);
    } else if (moves[event.key]) {
      this.cursor = this.cursor.map((at, i) => Math.min(Math.max(at + moves[event.key][i], 0), SIDE - 1));
      if (event.shiftKey) this.stroke(this.cursor);
      else this.again();
    } else return;
    event.preventDefault();
  }

  // Draw from where the pen was to [column, row].
  stroke(to) {
    const from = this.last ?? to;
    if (this.last) this.last = to;
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    for (let part = 0; part <= Math.ceil(2 * length); part++) {
      const share = length ? part / Math.ceil(2 * length) : 0;
      this.dot(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]));
    }
    this.changed();
  }

  dot(x, y) {
    for (let row = Math.max(0, Math.floor(y - 2)); row <= Math.min(SIDE - 1, y + 2); row++) {
      for (let column = Math.max(0, Math.floor(x - 2)); column <= Math.min(SIDE - 1, x + 2); column++) {
        const ink = Math.min(Math.max(WIDE + 0.5 - Math.hypot(column - x, row - y), 0), 1);
        const at = row * SIDE + column;
        this.pixels[at] = Math.max(this.pixels[at], ink);
      }
    }
  }

  take(pixels) {
    this.pixels = Float64Array.from(pixels);
    this.changed();
  }

  // Move the ink so that its middle is that of the picture, as it is in the data.
  centre() {
    let [sum, down, right] = [0, 0, 0];
    this.pixels.forEach((ink, i) => {
      sum += ink;
      down += ink * Math.floor(i / SIDE);
      right += ink * (i % SIDE);
    });
    if (!sum) return;
    const [rows, columns] = [Math.round(13.5 - down / sum), Math.round(13.5 - right / sum)];
    const moved = new Float64Array(SIDE * SIDE);
    this.pixels.forEach((ink, i) => {
      const [row, column] = [Math.floor(i / SIDE) + rows, (i % SIDE) + columns];
      if (row >= 0 && row < SIDE && column >= 0 && column < SIDE) moved[row * SIDE + column] = ink;
    });
    this.take(moved);
  }

  changed() {
    this.again();
    this.onchange();
  }

  again() {
    paint(this.canvas, this.pixels, this.mask);
    if (!this.canvas.matches(":focus-visible")) return;
    const context = this.canvas.getContext("2d");
    context.strokeStyle = "#d55e00";
    context.strokeRect(this.cursor[0] - 0.5, this.cursor[1] - 0.5, 2, 2);
  }
}
