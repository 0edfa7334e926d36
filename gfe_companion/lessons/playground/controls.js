// What both races are watched and set by: a player that scrubs through the trials, and the sliders of the solvers.
import { button, choice, element, slider } from "./dom.js";

const PACE = 70; // milliseconds between two trials

// Play, pause, step and scrub. onmove(trials) is called at every move; until somebody moves, it stands at the end.
export class Player {
  constructor(onmove) {
    Object.assign(this, { onmove, end: 0, trials: 0, following: true, timer: null });
    this.toggle = button("Play", () => (this.timer ? this.pause() : this.play()), { className: "gfe-main" });
    this.range = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "trial" });
    this.range.addEventListener("input", () => this.stand(Number(this.range.value)));
    this.said = element("output", { className: "gfe-said" });
    const step = (by, label, text) => button(text, () => this.stand(this.trials + by), { "aria-label": label });
    this.line = element(
      "div",
      { className: "gfe-player", role: "group", "aria-label": "the trials, one by one" },
      this.toggle,
      step(-1, "one trial back", "◀"),
      step(1, "one trial on", "▶"),
      this.range,
      this.said,
    );
  }

  // There are now so many trials.
  reach(end) {
    this.end = end;
    this.range.max = end;
    this.move(this.following ? end : Math.min(this.trials, end));
  }

  follow() {
    this.pause();
    this.following = true;
  }

  stand(trials) {
    this.pause();
    this.move(trials);
    this.following = this.trials === this.end;
  }

  move(trials) {
    this.trials = Math.min(Math.max(trials, 0), this.end);
    this.range.value = this.trials;
    this.said.textContent = `trial ${this.trials} of ${this.end}`;
    this.range.setAttribute("aria-valuetext", this.said.textContent);
    this.onmove(this.trials);
  }

  play() {
    if (this.trials >= this.end) this.move(0);
    this.following = false;
    this.toggle.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.trials >= this.end) this.follow();
      else this.move(this.trials + 1);
    }, PACE);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.toggle.textContent = "Play";
  }
}

const TEXTS = {
  tau: { text: "τ, the final time", from: 10, to: 1e5, step: 0.05, log: true },
  beta: { text: "β, shrinks a refused step", from: 0.1, to: 0.95, step: 0.01 },
  kappa: { text: "κ, lets steps grow", from: 1, to: 2, step: 0.01 },
  s_max: { text: "s_max, the longest step", from: 1, to: 1e4, step: 0.05, log: true },
};
const PRESETS = { paper: "the paper's values", uncapped: "uncapped, as in notebook 04" };

// Two solvers out of a backend's, the sliders of the paper's one, and how many trials each is given.
export class Settings {
  constructor(backend, presets, onchange) {
    const names = backend.solvers.map(({ name }, place) => [place, name]);
    this.racers = [0, 1];
    this.trials = 60;
    this.own = { ...presets.uncapped };
    const racers = [0, 1].map((which) => {
      return choice(which ? "against" : "race", names, which, (place) => {
        this.racers[which] = Number(place);
        onchange();
      });
    });
    const sliders = Object.entries(TEXTS).map(([name, shape]) => {
      const onmove = (value) => {
        this.own[name] = value;
        onchange();
      };
      return [name, slider({ ...shape, value: this.own[name], onmove })];
    });
    const trials = slider({
      text: "number of trials",
      from: 5,
      to: 150,
      value: this.trials,
      whole: true,
      onmove: (value) => {
        this.trials = value;
        onchange();
      },
    });
    const set = (preset) => () => {
      this.own = { ...presets[preset] };
      sliders.forEach(([name, { set }]) => set(this.own[name]));
      onchange();
    };
    this.block = element(
      "fieldset",
      { className: "gfe-settings" },
      element("legend", { textContent: "Solvers" }),
      element("div", { className: "gfe-row" }, ...racers),
      trials.line,
      ...sliders.map(([, { line }]) => line),
      element(
        "div",
        { className: "gfe-row" },
        element("span", { textContent: "Set AMD to" }),
        ...Object.entries(PRESETS).map(([preset, text]) => button(text, set(preset))),
      ),
    );
  }

  // What a backend's encode takes of them.
  get request() {
    return { racers: [...this.racers], trials: this.trials, settings: { AMD: { ...this.own } } };
  }
}
