// What the bridge itself says: where a message is, why it waits, and whether its books and our counts are the same.

import { at, make } from "./document.js";

const OFTEN = 1500; // ms between two looks while something may change
const MOST = 100; // messages of one look
const ENDED = new Set(["delivered", "failed", "removed", "unconfirmed", "done", "dead"]);
const WORDS = {
  accepted: "waits", sending: "is being sent", retry: "waits to be sent again", unknown: "outcome unknown", sent: "sent, no report yet",
  waiting: "waits", running: "is being worked on", dead: "is a dead letter", unconfirmed: "no report came",
};
const known = new Map(); // place and name of a message -> what the bridge says of its copies
let consoleAt = "";
let page; // what page.js lends: wanted(), redraw(), live()
let asking = false;
let changed = true;
let unsettled = false;

const key = (place, name) => `${place}\n${name}`;

export function init(lent) {
  page = lent;
  setInterval(look, OFTEN);
}

export function forget() { known.clear(); changed = true; }
export function somethingChanged() { changed = true; }

// A message whose end is not known yet is asked about again.
async function look() {
  if (asking || document.hidden || !(changed || unsettled)) return;
  asking = true;
  changed = false;
  const wanted = page.wanted().filter(([place, name]) => {
    const copies = known.get(key(place, name));
    return !copies?.length || copies.some((one) => !ENDED.has(one.state));
  }).slice(0, MOST);
  try {
    const answer = await fetch("/sandbox/bridge", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ messages: wanted }) });
    if (answer.ok) take(await answer.json());
  } catch {
    changed = true; // the sandbox is away: the line at the top says so
  }
  asking = false;
}

function take(told) {
  consoleAt = told.console ?? "";
  let news = false;
  for (const [place, name, copies] of told.messages ?? []) {
    const before = JSON.stringify(known.get(key(place, name)) ?? []);
    known.set(key(place, name), copies);
    news ||= before !== JSON.stringify(copies);
  }
  unsettled = Boolean(told.under_way) || told.away !== undefined || (told.counts && !Object.keys(told.counts).length);
  drawCounts(told);
  if (news) page.redraw();
}

const show = (id, value) => { if (at(id).textContent !== String(value)) at(id).textContent = value; };

function drawCounts(told) {
  for (const [name, id] of [["accepted", "agent"], ["delivered", "delivered"], ["failed", "failed"], ["seen", "seen"]]) {
    show(`count-${id}`, told.here[name]);
    const mark = at(`bridge-${id}`);
    if (!mark) continue;
    const both = told.counts?.[name];
    const same = both && both.here === both.bridge;
    const words = !both ? "" : same ? "= dcbridge" : `${told.still ? "≠" : "…"} ${both.bridge} in dcbridge`;
    show(`bridge-${id}`, words);
    mark.className = both && !same && told.still ? "bridge bad" : "bridge";
    mark.title = !both ? "" : same ? "dcbridge’s books have as many" : told.still ? "dcbridge’s books have another number, and nothing is under way." : "Messages are under way; they are compared when all have ended";
  }
  show("count-violations", told.here.violations);
  at("count-violations").classList.toggle("bad", told.here.violations > 0);
  at("bridge-away").hidden = told.away === undefined;
  at("bridge-away").textContent = told.away ?? "";
}

// The id of a message, with a link into the console where it runs, and where the message is while it has not ended.
export function about(place, name, index = 0, settled = false) {
  const one = known.get(key(place, name))?.[index];
  const nodes = [one && consoleAt
    ? make("a", { class: "id", href: `${consoleAt}/messages/${encodeURIComponent(one.ref)}`, target: "_blank", rel: "noopener", text: name, title: "Open in the console" })
    : make("span", { class: "id", text: name })];
  if (one && !settled && !(one.state in { delivered: 1, failed: 1, removed: 1, done: 1 })) {
    nodes.push(make("span", { class: "bridge-state", text: `dcbridge: ${WORDS[one.state] ?? one.state}${one.why ? ` (${one.why})` : ""}` }));
  }
  return nodes;
}
