// Small pieces of a page.

let named = 0;

// An element with properties (on... listen, aria-... and role are attributes, style is text) and children.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "style", "for"].includes(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export const button = (text, onclick, properties = {}) =>
  element("button", { type: "button", textContent: text, onclick, ...properties });

// A list to choose from; options are [value, text].
export function choice(text, options, value, onchange) {
  const id = `gfe-choice-${++named}`;
  const list = element(
    "select",
    { id, onchange: () => onchange(list.value) },
    ...options.map(([value, text]) => element("option", { value, textContent: text })),
  );
  list.value = value;
  return element("span", { className: "gfe-choice" }, element("label", { for: id, textContent: text }), list);
}

// A slider between two numbers with what it says beside it; in powers of ten, as is its step, where `log` is true.
export function slider({ text, from, to, step = 1, value, log = false, whole = false, onmove }) {
  const id = `gfe-slider-${++named}`;
  const [inward, outward] = log ? [Math.log10, (x) => 10 ** x] : [Number, Number];
  const input = element("input", { type: "range", id, min: inward(from), max: inward(to), step });
  const output = element("output", { for: id });
  const now = () => {
    const x = outward(Number(input.value));
    return whole ? Math.round(x) : Number(x.toPrecision(3));
  };
  const say = () => {
    output.textContent = now().toLocaleString("en");
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const set = (x) => {
    input.value = inward(x);
    say();
  };
  set(value);
  input.addEventListener("input", () => {
    say();
    onmove(now());
  });
  const label = element("label", { for: id, textContent: text });
  const line = element("div", { className: "gfe-slider" }, label, input, output);
  return { line, set };
}

// A canvas that is drawn again whenever its size or the colours of the page change; draw gets a context in CSS pixels.
export function drawn(height, draw, properties = {}) {
  const canvas = element("canvas", { role: "img", className: "gfe-drawn", ...properties });
  canvas.style.height = `${height}px`;
  const again = () => {
    const [width, scale] = [canvas.clientWidth, window.devicePixelRatio || 1];
    if (!width) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = context.strokeStyle = getComputedStyle(canvas).color;
    draw(context, width, height);
  };
  new ResizeObserver(again).observe(canvas);
  canvas.addEventListener("gfe-colours", again);
  return { canvas, again };
}
