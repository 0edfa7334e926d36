// The switches of every page (dark or light, code shown or folded), its menu, and the glossary's words. No network.
"use strict";

const kept = {
  get(name) { try { return localStorage.getItem(`gfe-${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`gfe-${name}`, value); } catch { /* nothing is remembered */ } },
};
const darkByChoice = matchMedia("(prefers-color-scheme: dark)");
const wide = matchMedia("(min-width: 64rem)");

function isDark() {
  const chosen = kept.get("theme");
  return chosen ? chosen === "dark" : darkByChoice.matches;
}

function paint() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  document.getElementById("dark")?.setAttribute("aria-pressed", isDark());
}

function fold() {
  const open = kept.get("code") === "open";
  for (const code of document.querySelectorAll("details.code")) code.open = open;
  document.getElementById("fold")?.setAttribute("aria-pressed", open);
}

function onSwitch(id, turn) {
  const button = document.getElementById(id);
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", turn);
}

function menu() {
  const details = document.querySelector(".menu");
  const settle = () => { details.open = wide.matches; };
  settle();
  wide.addEventListener("change", settle);
  details.addEventListener("click", (event) => { if (event.target.closest("a") && !wide.matches) details.open = false; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && details.open && !wide.matches) {
      details.open = false;
      details.querySelector("summary").focus();
    }
  });
}

function scrollable() { // what scrolls sideways can be reached by the keyboard
  for (const box of document.querySelectorAll(".wide, .math, pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}

function glossary() {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let shown = null, leaving = 0, touched = false;

  function show(term) {
    clearTimeout(leaving);
    const meaning = document.getElementById(term.getAttribute("aria-describedby"));
    if (!meaning) return;
    shown = term;
    tip.innerHTML = meaning.innerHTML;
    const all = document.createElement("a");
    all.href = term.href;
    all.textContent = "All symbols and words";
    all.tabIndex = -1;
    tip.append(all);
    tip.hidden = false;
    const at = term.getBoundingClientRect(), box = tip.getBoundingClientRect();
    const below = at.bottom + 6 + box.height < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.width - 8))}px`;
    tip.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - box.height - 4)}px`;
  }
  function hide() { tip.hidden = true; shown = null; }
  function leave() { clearTimeout(leaving); leaving = setTimeout(hide, 200); }

  for (const term of document.querySelectorAll("a.term")) {
    term.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") show(term); });
    term.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
    term.addEventListener("pointerdown", (event) => { touched = event.pointerType !== "mouse"; });
    term.addEventListener("focus", () => { if (!touched) show(term); });
    term.addEventListener("blur", leave);
    term.addEventListener("click", (event) => { // a tap explains; a click or Enter leads to page 00
      if (!touched) return;
      event.preventDefault();
      touched = false;
      if (shown === term) hide(); else show(term);
    });
  }
  tip.addEventListener("pointerenter", () => clearTimeout(leaving));
  tip.addEventListener("pointerleave", leave);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".tip, a.term")) hide(); });
  addEventListener("scroll", hide, { passive: true });
}

paint();
darkByChoice.addEventListener("change", paint);
document.addEventListener("DOMContentLoaded", () => {
  paint();
  fold();
  menu();
  scrollable();
  glossary();
  onSwitch("dark", () => { kept.set("theme", isDark() ? "light" : "dark"); paint(); });
  onSwitch("fold", () => { kept.set("code", kept.get("code") === "open" ? "folded" : "open"); fold(); });
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
});
