// Calls that consumers asked for by text, and what the queue offers them.

import { at, clock, make, post } from "./document.js";

const ENDS = { cancelled: ["wait", "cancelled"], completed: ["good", "called"] };
const OFFERS = {
  now: { immediate: true, scheduled: true, office: true },
  later: { immediate: false, scheduled: true, office: true },
  night: { immediate: true, scheduled: true, office: false },
  none: { immediate: false, scheduled: false, office: false },
};

export function showQueue(now) {
  const offers = Object.entries(OFFERS).find(([, one]) => Object.entries(one).every(([name, value]) => now[name] === value));
  at("queue-offers").value = offers?.[0] ?? "";
  const wait = String(now.wait);
  if (![...at("queue-wait").options].some((one) => one.value === wait)) {
    at("queue-wait").append(make("option", { value: wait, text: now.wait < 0 ? "(not known)" : `${Math.round(now.wait / 60)} min` }));
  }
  at("queue-wait").value = wait;
}

const slot = (time) => time ? new Date(time * 1000).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" }) : "as soon as possible";

export function drawCalls(rows) {
  at("calls").replaceChildren(...rows.map((one) => make("li", {},
    clock(one.at), make("strong", { text: one.number, title: JSON.stringify(one.data, null, 1) }),
    make("span", { text: `${one.service}, ${slot(one.time)}`, title: one.id }),
    ENDS[one.state] ? make("span", { class: `pill ${ENDS[one.state][0]}`, text: ENDS[one.state][1], title: one.reason })
      : make("button", { class: "quiet", type: "button", text: "Complete", "data-call": one.id }))));
  if (!rows.length) at("calls").append(make("li", { class: "empty", text: "No calls are booked. Write CALL ME on the phone, where the channel has a rule with “book”." }));
}

at("calls").addEventListener("click", (event) => {
  const id = event.target.dataset.call;
  if (id) post("/sandbox/call/complete", { id });
});

at("queue-offers").addEventListener("change", (event) => post("/sandbox/control", { engagement: OFFERS[event.target.value] }));
at("queue-wait").addEventListener("change", (event) => post("/sandbox/control", { engagement: { wait: Number(event.target.value) } }));
