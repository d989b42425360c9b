// The log of requests, and of rules that were broken: it can be paused, searched and made large.

import { at, clock, make, pretty } from "./document.js";

const KEPT_ROWS = 400;
const held = []; // what came while the log was paused
const texts = new WeakMap(); // of a row, in small letters
let paused = false;

function statusKind(status, method) {
  if ((method === "SMTP" || method === "LMTP") && status) return status < 400 ? "good" : status < 500 ? "wait" : "bad";
  return status >= 200 && status < 300 ? "good" : status === 0 || status >= 500 || status === 429 ? "wait" : "bad";
}

export function addRequest(one) {
  if (paused) {
    held.push(one);
    if (held.length > KEPT_ROWS) held.shift();
    drawPause();
    return;
  }
  const check = one.check ? `${one.check} ✓` : "";
  const row = make("details", { "data-who": one.who }, make("summary", {},
    clock(one.at),
    make("span", { class: "way" }, one.inward ? make("b", { text: "bridge" }) : one.who, " → ", one.inward ? one.who : make("b", { text: "bridge" })),
    make("span", { class: "method", text: one.method }),
    make("span", { class: "path", text: one.path, title: one.path }),
    make("span", { class: "check", text: check }),
    make("span", { class: "ms", text: `${one.ms < 10 ? one.ms.toFixed(1) : Math.round(one.ms)} ms` }),
    make("span", { class: `pill ${statusKind(one.status, one.method)}`, text: one.code || one.status || "none" })));
  row.addEventListener("toggle", () => {
    if (!row.open || row.childElementCount > 1) return;
    row.append(make("div", { class: "bodies" },
      make("div", {}, make("h3", { text: "Sent" }), make("pre", { text: pretty(one.sent) || "(nothing)", tabindex: "0" })),
      make("div", {}, make("h3", { text: "Answered" }), make("pre", { text: pretty(one.answered) || "(nothing)", tabindex: "0" }))));
  });
  texts.set(row, [one.who, one.method, one.path, one.status, one.code, one.check, one.sent, one.answered].join(" ").toLowerCase());
  show(row);
  const log = at("log-requests");
  log.querySelector(".empty")?.remove();
  log.prepend(row);
  while (log.childElementCount > KEPT_ROWS) log.lastElementChild.remove();
}

export function addViolation(one) {
  const log = at("log-violations");
  log.querySelector(".empty")?.remove();
  log.prepend(make("li", {}, clock(one.at), make("span", { text: one.who }), make("strong", { text: one.rule }), make("span", { class: "detail", text: one.detail })));
  while (log.childElementCount > KEPT_ROWS) log.lastElementChild.remove();
}

export function forget() {
  held.length = 0;
  drawPause();
  for (const [id, words] of [["log-requests", "Requests and responses appear here."], ["log-violations", "No protocol violations."]]) {
    at(id).replaceChildren(make(id === "log-violations" ? "li" : "p", { class: "empty", text: words }));
  }
}

function show(row) {
  const who = at("who").value;
  const wanted = at("wire-search").value.trim().toLowerCase();
  row.hidden = Boolean((who && row.dataset.who !== who) || (wanted && !texts.get(row)?.includes(wanted)));
}

function search() {
  const rows = [...at("log-requests").querySelectorAll("details")];
  rows.forEach(show);
  const found = rows.filter((row) => !row.hidden).length;
  at("wire-found").textContent = at("wire-search").value.trim() || at("who").value ? `${found} of ${rows.length}` : "";
}

function drawPause() {
  at("wire-pause").setAttribute("aria-pressed", String(paused));
  at("wire-pause").textContent = paused ? (held.length ? `Go on (${held.length} new)` : "Go on") : "Pause";
}

export function init() {
  at("who").addEventListener("change", search);
  at("wire-search").addEventListener("input", search);
  at("wire-pause").addEventListener("click", () => {
    paused = !paused;
    if (!paused) held.splice(0).forEach(addRequest);
    drawPause();
    search();
  });
  at("wire-large").addEventListener("click", () => {
    const large = document.querySelector("main").toggleAttribute("data-wire");
    at("wire-large").setAttribute("aria-pressed", String(large));
    at("wire-large").textContent = large ? "Smaller" : "Larger";
    at("wire-large").scrollIntoView({ block: "nearest" });
  });
}
