// Interactions that Digital Channels tells of, and what one subscriber of these events was told.

import { at, clock, make, post } from "./document.js";

let openInteraction = null;

export function forgetInteraction() {
  openInteraction = null;
  at("finish").disabled = true;
}

// Ids are told apart by how they begin; the whole of one is in its title.
const short = (id, title = id) => make("code", { text: (id ?? "").slice(0, 8), title });

export function drawInteractions(rows) {
  at("interactions").replaceChildren(...rows.flatMap((one) => one.events.map((event) => make("li", {},
    clock(one.at), make("strong", { text: event.event }), short(event.entity.id),
    make("span", { text: event.entity.interactionSubtype }),
    make("span", { class: `pill ${one.state === "taken" ? "good" : one.state === "sending" ? "wait" : "bad"}`, text: one.state === "taken" ? "accepted" : one.state })))));
  if (!rows.length) at("interactions").append(make("li", { class: "empty", text: "Start an interaction. dcbridge delivers the event to its subscribers." }));
}

const ANSWERS = { 0: "no answer", 204: "accepted", 401: "wrong signature", 410: "gone", 429: "throttled", 500: "failed" };

const kindOf = (status) => status === 204 ? "good" : status === 410 || status === 401 ? "bad" : "wait";

export function drawHeard(rows) {
  at("heard").replaceChildren(...rows.map((one) => make("li", {},
    clock(one.at), make("strong", { text: one.type }), short(one.interaction, `${one.interaction} ${one.webhook_id}`),
    make("span", { text: one.attempts === 1 ? "" : `${one.attempts}×`, title: `attempts: ${one.attempts}` }),
    make("span", { class: `pill ${one.open ? "wait" : kindOf(one.status)}`, text: one.open ? "waiting" : ANSWERS[one.status] ?? one.status }))));
  if (!rows.length) at("heard").append(make("li", { class: "empty", text: "No deliveries yet." }));
}

const ENDS = { gone: "finished by the agent", Resolved: "resolved by dcbridge", Discarded: "discarded by dcbridge" };

export function drawItems(rows) {
  at("items").replaceChildren(...rows.map((one) => make("li", {},
    clock(one.at), make("strong", { text: one.data.Subject ?? one.external, title: JSON.stringify(one.data, null, 1) }),
    make("span", { text: [one.data.From, one.data.Text].filter(Boolean).join(": ").slice(0, 200) }),
    one.state === "open" ? make("button", { class: "quiet", type: "button", text: "Done", "data-item": one.external })
      : make("span", { class: "pill good", text: ENDS[one.state] ?? ENDS[one.reason] ?? one.state }))));
  if (!rows.length) at("items").append(make("li", { class: "empty", text: "What dcbridge cannot carry becomes a work item. Write from a phone to a number that no channel has." }));
}

export function drawSecure(rows) {
  at("secures").replaceChildren(...rows.map((one) => make("li", {},
    clock(one.at), make("strong", { text: one.subject || "(no subject)", title: one.operation }),
    make("span", { text: `${one.address}: ${one.text}`.slice(0, 200) }),
    make("span", { text: one.files.map(([name]) => name).join(", ") }))));
  if (!rows.length) at("secures").append(make("li", { class: "empty", text: "Emails that dcbridge submits to Secure Email are shown here." }));
}

at("items").addEventListener("click", (event) => {
  const external = event.target.dataset.item;
  if (external) post("/sandbox/item/done", { external });
});

const rings = (...steps) => post("/sandbox/line/call", { from: at("line-from").value, steps, disposition: steps.length > 2 ? at("line-disposition").value : "" });

at("line-missed").addEventListener("click", () => rings("Ringing", "Released"));

at("line-answered").addEventListener("click", () => rings("Ringing", "Established", "Released"));

at("subscriber-mode").addEventListener("change", (event) => post("/sandbox/control", { subscriber: { mode: event.target.value } }));

at("start").addEventListener("click", async () => {
  const made = await post("/sandbox/interaction", { event: "STARTED", subtype: at("subtype").value });
  if (!made) return;
  openInteraction = made.ids[0];
  at("finish").disabled = false;
});

at("finish").addEventListener("click", async () => {
  if (!openInteraction) return;
  await post("/sandbox/interaction", { event: "FINISHED", id: openInteraction, subtype: at("subtype").value });
  openInteraction = null;
  at("finish").disabled = true;
});
