// Who solves: the engine of this module, a few trials at a time, or a notebook's kernel, which has every solver.
//
// Both have: solvers [{name, color, dash, sliders}]; digits [{label, pixels}];
//   encode({image, mask, penalty, trials, racers, toy, settings}, progress), which calls progress(races, done) as often
//     as there is more to show, and returns a function that cancels it; a race is {name, frames, status}; where it
//     could not be done there is no race, and a third argument says why;
//   picture(frame); decode(latents), a promise of pictures; guess(image), a promise of the autoencoder's picture.
import { Objective, Toy, sigmoid } from "./engine.js";
import { amd, quasiNewton } from "./solvers.js";

const SLICE = 12; // milliseconds of solving between two looks at the screen
const LOGIT = 1024; // what a logit of 1 is in the 16 bits that widget.py sends
const KINDS = { AMD: amd, QuasiNewtonAMD: quasiNewton };

// The toy's image: what its decoder makes of a latent that the walk should find.
export const TOY_TRUTH = [1.4, 1.1];
export const toyObjective = () => new Objective(new Toy(), sigmoid(new Toy().forward(TOY_TRUTH)));

export class Engine {
  constructor({ networks, digits }, solvers) {
    Object.assign(this, { networks, digits, solvers });
  }

  encode(request, progress) {
    const races = request.racers.map((place) => {
      const { name, kind, settings } = this.solvers[place];
      const objective = request.toy
        ? toyObjective()
        : new Objective(this.networks.decoder, request.image, { mask: request.mask, penalty: request.penalty });
      const chosen = { ...settings, ...request.settings[name], max_trials: request.trials };
      const running = KINDS[kind](objective, chosen, Float64Array.from(request.toy ?? objective.start()));
      return { name, frames: [], status: null, running };
    });
    let waiting = null;
    const slice = () => {
      const until = performance.now() + SLICE;
      let under_way = races.filter((race) => race.status === null);
      while (under_way.length && performance.now() < until) {
        for (const race of under_way) {
          const { value, done } = race.running.next();
          if (done) race.status = value;
          else race.frames.push(value);
        }
        under_way = under_way.filter((race) => race.status === null);
      }
      waiting = under_way.length ? setTimeout(slice) : null;
      progress(races, waiting === null);
    };
    slice();
    return () => clearTimeout(waiting);
  }

  picture(frame) {
    frame.picture ??= sigmoid(this.networks.decoder.forward(frame.z));
    return frame.picture;
  }

  async decode(latents) {
    return latents.map((z) => sigmoid(this.networks.decoder.forward(z)));
  }

  async guess(image) {
    const { encoder, autoencoder } = this.networks;
    return sigmoid(autoencoder.forward(Float64Array.from(encoder.forward(image))));
  }
}

// The kernel behind an anywidget model: see widget.py, which answers every question by its number.
export class Kernel {
  constructor(model) {
    Object.assign(this, { model, asked: 0, waiting: new Map(), solving: false, next: null });
    this.solvers = model.get("solvers");
    const bytes = new Uint8Array(held(model.get("digits")));
    this.digits = model.get("labels").map((label, i) => ({ label, pixels: lightness(bytes, i) }));
    this.hear = (message, buffers) => {
      const answer = this.waiting.get(message.number);
      this.waiting.delete(message.number);
      answer?.(message, buffers);
    };
    model.on("msg:custom", this.hear);
  }

  close() {
    this.model.off("msg:custom", this.hear);
  }

  ask(content, buffers, answer) {
    const number = ++this.asked;
    this.waiting.set(number, answer);
    this.model.send({ ...content, number }, undefined, buffers.map((values) => Float64Array.from(values).buffer));
  }

  // One question at a time: of those that come meanwhile, the last is asked next.
  encode(request, progress) {
    const wanted = { request, progress };
    if (this.solving) this.next = wanted;
    else this.begin(wanted);
    return () => {
      if (this.next === wanted) this.next = null; // one that is under way is shown all the same
    };
  }

  // The kernel answers every few moments with what is new, and is asked to go on unless another question has come.
  begin(wanted) {
    this.solving = true;
    const { image, mask, toy, ...asked } = wanted.request;
    const races = [];
    const hear = ({ races: found, error = "" }, answers) => {
      found.forEach(({ name, status, frames }, place) => {
        const z = new Float64Array(held(answers[2 * place]));
        const pictures = new Int16Array(held(answers[2 * place + 1]));
        const d = z.length / frames.length;
        const more = frames.map((frame, i) => {
          return { ...frame, z: z.slice(i * d, (i + 1) * d), picture: toy ? null : shades(pictures, i) };
        });
        races[place] = { name, status, frames: [...(races[place]?.frames ?? []), ...more] };
      });
      const done = error !== "" || races.every(({ status }) => status !== null);
      const next = this.next;
      [this.next, this.solving] = [null, false];
      if (next) this.begin(next);
      else if (!done) {
        this.solving = true;
        this.ask({ question: "on", seen: races.map(({ frames }) => frames.length), toy: Boolean(toy) }, [], hear);
      }
      wanted.progress(error ? [] : races.filter(({ frames }) => frames.length), done, error);
    };
    this.ask({ question: "encode", ...asked }, [image ?? [], mask ?? [], toy ?? []], hear);
  }

  picture(frame) {
    return frame.picture;
  }

  decode(latents) {
    return new Promise((found) => {
      this.ask({ question: "decode", count: latents.length }, [latents.flatMap((z) => [...z])], (_, [pictures]) => {
        found(latents.map((_, i) => shades(new Int16Array(held(pictures)), i)));
      });
    });
  }

  guess(image) {
    return new Promise((found) => {
      this.ask({ question: "guess" }, [image], (_, [picture]) => found(shades(new Int16Array(held(picture)), 0)));
    });
  }
}

// What a view of bytes shows, in a buffer of its own.
const held = ({ buffer, byteOffset, byteLength }) => buffer.slice(byteOffset, byteOffset + byteLength);

// Picture number i of many, in logits, as numbers between 0 and 1.
function shades(words, i) {
  return sigmoid(Float64Array.from(words.subarray(784 * i, 784 * (i + 1)), (word) => word / LOGIT));
}

// Picture number i of many, in bytes, as numbers between 0 and 1.
function lightness(bytes, i) {
  return Float64Array.from(bytes.subarray(784 * i, 784 * (i + 1)), (byte) => byte / 255);
}
