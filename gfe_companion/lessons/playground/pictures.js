// What is drawn: pictures of 28 x 28 pixels, the loss curve, and the latent.

export const SIDE = 28;

// Draws black on white; where a mask is 0 the picture is covered by stripes.
export function paint(canvas, pixels, mask = null) {
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) {
    const hidden = mask && !mask[i];
    const stripe = ((i % SIDE) + Math.floor(i / SIDE)) % 4 < 2 ? 176 : 208;
    image.data.set(hidden ? [stripe, stripe, stripe, 255] : Array(3).fill(255 * (1 - pixels[i])).concat(255), 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// The mean cross-entropy of a picture over the pixels where mask is `which`.
export function crossEntropy(picture, image, mask, which) {
  let [sum, count] = [0, 0];
  for (let i = 0; i < image.length; i++) {
    if (mask && mask[i] !== which) continue;
    const p = Math.min(Math.max(picture[i], 1e-12), 1 - 1e-12);
    sum -= image[i] * Math.log(p) + (1 - image[i]) * Math.log(1 - p);
    count += 1;
  }
  return sum / count;
}

// The frames of a race that cost no more decoder passes than so many trials do, two each and two for the start.
export function until(race, trials) {
  return race.frames.filter((frame) => frame.passes <= 2 * (trials + 1));
}

// Where a race stands by then.
export function frameAt(race, trials) {
  return until(race, trials).pop() ?? race.frames[0];
}

// How many trials the longest of the races had.
export function lengthOf(races) {
  return Math.ceil(Math.max(...races.map(({ frames }) => frames[frames.length - 1].passes)) / 2) - 1;
}

// The loss against decoder passes, on a scale of powers, with a mark at the present trial; `level` is a dashed line.
export function drawCurve(context, width, height, races, looks, trials, level) {
  const frames = races.flatMap((race) => race.frames);
  if (!frames.length) return;
  const [left, right, top, bottom] = [44, 12, 10, 34];
  const losses = [...frames.map((frame) => frame.loss), ...(level === null ? [] : [level])].filter((loss) => loss > 0);
  const [lowest, highest] = [Math.min(...losses) * 0.95, Math.max(...losses) * 1.05];
  const most = Math.max(...frames.map((frame) => frame.passes), 2);
  const x = (passes) => left + (passes / most) * (width - left - right);
  const y = (loss) => top + ((height - top - bottom) * Math.log(highest / loss)) / Math.log(highest / lowest);
  drawAxes(context, width, height, { left, right, top, bottom, lowest, highest, most, x, y });
  if (level !== null) drawLine(context, [[left, y(level)], [width - right, y(level)]], looks.autoencoder);
  races.forEach((race, place) => {
    const points = until(race, trials).map((frame) => [x(frame.passes), y(frame.loss)]);
    const whole = race.frames.map((frame) => [x(frame.passes), y(frame.loss)]);
    drawLine(context, whole, { ...looks[race.name], alpha: 0.25 });
    drawLine(context, points, looks[race.name]);
    const [a, b] = points.at(-1) ?? whole[0];
    context.fillStyle = looks[race.name].color;
    context.beginPath();
    if (place === 0) context.arc(a, b, 5, 0, 2 * Math.PI);
    else context.rect(a - 4.5, b - 4.5, 9, 9);
    context.fill();
  });
}

function drawAxes(context, width, height, { left, right, top, bottom, lowest, highest, most, x, y }) {
  context.globalAlpha = 0.6;
  context.strokeRect(left, top, width - left - right, height - top - bottom);
  context.globalAlpha = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const ticks = [0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 2, 5, 10];
  let above = Infinity;
  for (const tick of ticks.filter((loss) => loss > lowest && loss < highest)) {
    if (above - y(tick) < 14) continue;
    above = y(tick);
    context.fillText(tick.toString(), left - 5, above);
  }
  context.textBaseline = "top";
  context.textAlign = "center";
  const step = [2, 5, 10, 20, 25, 50, 100, 200, 500].find((each) => most / each <= 7) ?? most;
  for (let passes = 0; passes <= most; passes += step) context.fillText(`${passes}`, x(passes), height - bottom + 4);
  context.fillText("decoder passes", (left + width - right) / 2, height - bottom + 19);
}

export function drawLine(context, points, { color, dash = [], alpha = 1, width = 2 }) {
  context.save();
  context.globalAlpha = alpha;
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([a, b]) => context.lineTo(a, b));
  context.stroke();
  context.restore();
}

// The latent's numbers as bars, side by side for each race; the scale is that of the ends.
export function drawLatents(context, width, height, races, looks, trials) {
  if (!races.some((race) => race.frames.length)) return;
  const ends = races.flatMap((race) => [...frameAt(race, Infinity).z]);
  const largest = Math.max(...ends.map(Math.abs), 1e-6);
  const [top, bottom] = [10, 34];
  const middle = top + (height - top - bottom) / 2;
  const count = frameAt(races[0], 0).z.length;
  const slot = width / count;
  context.globalAlpha = 0.6;
  context.fillRect(0, middle, width, 1);
  context.globalAlpha = 1;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const i of [0, 4, 9, 14, 19].filter((i) => i < count)) {
    context.fillText((i + 1).toString(), (i + 0.5) * slot, height - bottom + 4);
  }
  context.fillText(`entries of z, up to ±${largest.toPrecision(2)}`, width / 2, height - bottom + 19);
  races.forEach((race, place) => {
    const { z } = frameAt(race, trials);
    const thick = (0.8 * slot) / races.length;
    context.fillStyle = looks[race.name].color;
    z.forEach((value, i) => {
      const tall = Math.max(-1, Math.min(1, value / largest)) * (middle - top);
      context.fillRect((i + 0.1) * slot + place * thick, middle - Math.max(tall, 0), thick, Math.abs(tall));
    });
  });
}
