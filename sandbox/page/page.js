// The page of the sandbox: everything it shows arrives as server-sent events, everything it does is one POST.
// Data reaches the document through textContent only.

import { at, clock, make, post, say } from "./document.js";
import * as bridge from "./bridge.js";
import * as wire from "./wire.js";
import { attachment, bubble, stayAtTheEnd } from "./files.js";
import * as mail from "./mail.js";
import { drawCalls, showQueue } from "./calls.js";
import { showStatistics } from "./statistics.js";
import { drawHeard, drawInteractions, drawItems, drawSecure, forgetInteraction } from "./interactions.js";

const digits = (number) => number.replace(/\D/g, "");
const KEPT_ROWS = 200;
const NEWEST = 12; // conversations that are buttons; all others are in the list beside them

const seen = { agent: new Map(), sms: new Map(), seen: new Map(), consumer: new Map(), mail: new Map(), written: new Map(), interaction: new Map(), event: new Map(), item: new Map(), secure: new Map(), call: new Map() };
let setting = { companies: [], switches: { off: [] }, email_channel: "", numbers: [], mailboxes: [] };
let live = false; // false while the recent past is replayed
const stale = new Set();

// --- states in words -------------------------------------------------------------------------

function receiptState(message, recipient) {
  const receipt = message.receipts[recipient];
  if (!receipt) {
    return {
      sending: ["wait", message.attempts ? `no answer, delivery ${message.attempts + 1}` : "sending"],
      accepted: ["", "✓ accepted"],
      refused: ["bad", "✕ refused by dcbridge"],
      "given up": ["bad", "✕ dcbridge did not answer"],
    }[message.state];
  }
  if (receipt.status === "Delivered") return ["good", "✓✓ delivered"];
  if (receipt.status === "Removed") return ["wait", "removed"];
  return ["bad", "✕ failed", receipt.reasons.map((one) => [one.code, one.message].filter(Boolean).join(" · ")).join(", ")];
}

const PHONE_STATES = {
  queued: ["wait", "✓ accepted"], accepted: ["wait", "✓ accepted"], sent: ["wait", "✓✓ sent"], delivered: ["good", "✓✓ delivered"],
  undelivered: ["bad", "✕ never arrived"], failed: ["bad", "✕ failed"],
};

function meta(record, [kind, words, why], carrier, about = []) {
  return make("div", { class: "meta" }, clock(record.at), carrier, make("span", { class: `state ${kind}`, text: words }), ...about, why && make("span", { class: "why", text: why }));
}

// --- conversations ---------------------------------------------------------------------------

const isSms = (record) => record.type !== "Email";
const current = () => digits(at("number").value);
const company = () => setting.companies.find((one) => one.name === at("company").value) ?? { name: "", who: "", channel: "", number: "", carriers: [] };
const whoIs = (name) => setting.companies.find((one) => one.name === name)?.who ?? name;

function fill(list, records, draw, nothing) {
  const near = list.dataset.end === "yes" || list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const before = Number(list.dataset.newest ?? 0);
  list.replaceChildren(...records.map((record) => {
    const node = draw(record);
    if (live && record.seq > before) node.classList.add("new");
    return node;
  }));
  if (!records.length) list.append(make("li", { class: "empty", text: nothing }));
  const newest = records.length ? records.at(-1).seq : 0;
  if (near || newest > before) list.scrollTop = list.scrollHeight;
  list.dataset.newest = newest;
}

const UNSEEN = "(not sent from this page, but by dcbridge send or by hand, or before the sandbox was restarted)";
const textOf = (message) => message.state === "unseen" ? UNSEEN : message.text;
const bySeq = (one, other) => one.seq - other.seq;
const last = (records) => records.sort(bySeq).slice(-KEPT_ROWS);

function drawThread() {
  const number = current();
  const channel = company().channel;
  const sent = [...seen.agent.values()].filter((one) => one.channel_id === channel && one.recipients.some((to) => digits(to) === number));
  const heard = [...seen.seen.values()].filter((one) => one.channel_id === channel && digits(one.sender) === number);
  fill(at("thread"), last([...sent, ...heard]), (one) => one.recipients
    ? make("li", { class: "said mine" }, bubble(textOf(one), one.media), meta(one, receiptState(one, one.recipients[0]), null, bridge.about(one.channel_id, one.message_id, 0, Boolean(one.receipts[one.recipients[0]]))))
    : make("li", { class: "said" }, bubble(one.text, one.media), make("div", { class: "meta" }, clock(one.at), make("span", { text: "from the consumer" }))),
  "Write as the agent. The message goes through dcbridge to the phone on the right.");
}

function drawPhone() {
  const number = current();
  at("phone-number").textContent = `+${number}`;
  const { name, who, channel, number: ours, media, carriers } = company();
  at("phone-attach").hidden = !media;
  at("phone-from").textContent = carriers.length > 1 ? carriers.map(whoIs).join(", ") : `${ours} (${who})`;
  // A company that serves the channel may have a channel of its own as well: that number is another conversation.
  const others = setting.companies.filter((one) => one.channel !== channel).map((one) => one.number);
  const here = (one, ours) => carriers.includes(one.provider) && (one.provider === name || !others.includes(ours));
  const got = [...seen.sms.values()].filter((one) => here(one, one.from) && digits(one.to) === number);
  const wrote = [...seen.consumer.values()].filter((one) => here(one, one.to) && digits(one.sender) === number);
  // Several companies serve the channel: each message says which one carried it, and under which number of ours.
  const carried = (one, ours) => carriers.length > 1 && make("span", { class: "carrier", text: `${whoIs(one.provider)} ${ours}` });
  fill(at("texts"), last([...got, ...wrote]), (one) => {
    if (!one.sid || one.answer !== undefined) {
      const state = { sending: ["wait", "sending"], taken: ["good", "✓ sent"], refused: ["bad", "✕ not accepted", `dcbridge answered: ${one.answer}`] }[one.state];
      return make("li", { class: "said mine" }, bubble(one.text, one.media), meta(one, state, carried(one, one.to), one.state === "taken" ? bridge.about(one.provider, one.sid) : []));
    }
    const [kind, words] = PHONE_STATES[one.status] ?? ["wait", one.status];
    const look = kind === "bad" ? "never" : one.status === "delivered" ? "" : "on-its-way";
    return make("li", { class: `said ${look}` }, bubble(one.body, one.media), meta(one, [kind, words, one.provider_code && `provider code ${one.provider_code}`], carried(one, one.from)));
  }, "No messages yet.");
}

function drawPeople() {
  const latest = new Map();
  const note = (number, seq) => latest.set(number, Math.max(seq, latest.get(number) ?? 0));
  for (const one of seen.agent.values()) if (isSms(one)) one.recipients.forEach((to) => note(digits(to), one.seq));
  for (const one of seen.seen.values()) if (one.channel_id !== setting.email_channel) note(digits(one.sender), one.seq);
  const numbers = [...latest].sort((one, other) => other[1] - one[1]).slice(0, NEWEST).map(([number]) => number);
  const focused = at("people").contains(document.activeElement) ? document.activeElement.dataset.number : null;
  at("people").replaceChildren(...numbers.map((number) => {
    const button = make("button", { type: "button", "aria-pressed": String(number === current()), "data-number": number, text: `+${number}` });
    button.addEventListener("click", () => talkTo(number));
    return button;
  }));
  const chosen = at("people").querySelector('[aria-pressed="true"]');
  if (chosen) at("people").scrollLeft = chosen.offsetLeft - at("people").clientWidth / 2;
  const magic = setting.numbers.find((one) => digits(one.number) === current());
  at("magic-number").value = magic ? magic.number : "";
  if (focused) at("people").querySelector(`[data-number="${CSS.escape(focused)}"]`)?.focus();
}

function talkTo(number) {
  at("number").value = number;
  at("thread").dataset.newest = at("texts").dataset.newest = Number.MAX_SAFE_INTEGER;
  redraw("people", "thread", "phone");
}

// --- email ---------------------------------------------------------------------

// --- conversations that are no button ----------------------------------------------------------

// The list is asked for when somebody wants it: the page knows the recent past alone.
function everybody(id, email, choose) {
  const list = at(id);
  const first = () => make("option", { value: "", text: "All conversations…" });
  list.replaceChildren(first());
  const ask = async () => {
    const answer = await fetch("/sandbox/conversations").catch(() => null);
    if (!answer?.ok) { say("The sandbox does not answer."); return; }
    const theirs = (await answer.json()).filter((one) => one.email === email);
    const chosen = list.value;
    list.replaceChildren(first(), ...theirs.map((one) => make("option", { value: one.with, text: email ? one.with : `+${one.with}` })));
    list.value = theirs.some((one) => one.with === chosen) ? chosen : "";
  };
  list.addEventListener("focus", ask);
  list.addEventListener("change", async () => {
    const who = list.value;
    if (!who) return;
    const answer = await fetch(`/sandbox/conversation?with=${encodeURIComponent(who)}`).catch(() => null);
    if (!answer?.ok) { say("The sandbox does not answer."); return; }
    for (const [kind, records] of Object.entries(await answer.json())) for (const one of records) seen[kind].set(one.seq, one);
    list.value = "";
    choose(who);
    bridge.somethingChanged();
  });
}

// What a screen reader is told of: the lists themselves are drawn anew whenever something changes.
const KEPT_NEWS = 20;
const announced = new Set();
function announce(kind, one) {
  const words = kind === "seen" ? `${one.channel_id === setting.email_channel ? one.sender : `+${digits(one.sender)}`} wrote: ${one.text}`
    : kind === "sms" && one.status === "delivered" ? `On the phone of ${one.to}: ${one.body}` : "";
  if (!live || !words || announced.has(`${kind} ${one.seq}`)) return;
  announced.add(`${kind} ${one.seq}`);
  at("news").append(make("p", { text: words.slice(0, 300) }));
  while (at("news").childElementCount > KEPT_NEWS) at("news").firstElementChild.remove();
}

// The newest messages on this page that the bridge may have something to say of.
function wanted() {
  const agent = [...seen.agent.values()].filter((one) => one.state === "accepted" || one.state === "unseen").map((one) => [one.seq, one.channel_id, one.message_id]);
  const consumer = [...seen.consumer.values()].filter((one) => one.state === "taken").map((one) => [one.seq, one.provider, one.sid]);
  return [...agent, ...consumer].sort((one, other) => other[0] - one[0]).map(([, place, name]) => [place, name]);
}

// --- drawing when something changed ----------------------------------------------------------

const drawings = { people: drawPeople, thread: drawThread, phone: drawPhone, correspondents: mail.drawCorrespondents, letters: mail.drawLetters, mails: mail.drawMails, interactions: () => drawInteractions(last([...seen.interaction.values()]).reverse()), heard: () => drawHeard(last([...seen.event.values()]).reverse()), items: () => drawItems(last([...seen.item.values()]).reverse()), secures: () => drawSecure(last([...seen.secure.values()]).reverse()), calls: () => drawCalls(last([...seen.call.values()]).reverse()) };
const touches = {
  agent: ["people", "thread", "correspondents", "letters"], sms: ["phone"], seen: ["people", "thread", "correspondents", "letters"], consumer: ["phone"],
  mail: ["mails"], written: ["mails"], interaction: ["interactions"], event: ["heard"], item: ["items"], secure: ["secures"], call: ["calls"],
};

function redraw(...names) {
  if (!stale.size) {
    requestAnimationFrame(() => {
      const wanted = [...stale];
      stale.clear();
      wanted.forEach((name) => drawings[name]());
    });
  }
  names.forEach((name) => stale.add(name));
}

function forget() {
  Object.values(seen).forEach((records) => records.clear());
  announced.clear();
  at("news").replaceChildren();
  mail.forget();
  forgetInteraction();
  wire.forget();
  bridge.forget();
  for (const id of ["thread", "texts", "letters"]) at(id).dataset.newest = 0;
  redraw(...Object.keys(drawings));
}

function connect() {
  const source = new EventSource("/sandbox/events");
  const on = (kind, act) => source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  on("setting", (value) => {
    live = false;
    setting = value;
    forget();
    at("subscriber-mode").value = value.switches.subscriber;
    showQueue(value.switches.engagement);
    showStatistics(value.switches.statistics);
    const option = (one, key) => make("option", { value: one[key], text: `${one[key]} – ${one.says}${one.reason ? ` (${one.reason})` : ""}` });
    const choose = () => make("option", { value: "", text: "Choose one…" });
    at("magic-number").replaceChildren(choose(), ...value.numbers.map((one) => option(one, "number")));
    at("magic-mailbox").replaceChildren(choose(), ...value.mailboxes.map((one) => option(one, "local")));
    const chosen = at("company").value;
    at("company").replaceChildren(...value.companies.map((one) => make("option", { value: one.name, text: one.at ? `${one.who}, ${one.at}` : one.who, title: `channel ${one.channel}` })));
    if (value.companies.some((one) => one.name === chosen)) at("company").value = chosen;
    at("company-label").hidden = at("company-off-label").hidden = value.companies.length < 2;
    at("company-off").checked = value.switches.off.includes(at("company").value);
    for (const who of value.companies.flatMap((one) => [one.who, one.at]).filter(Boolean)) {
      if (![...at("who").options].some((option) => option.value === who)) at("who").append(make("option", { text: who }));
    }
    mail.newSetting();
    at("mail-port").textContent = `SMTP port ${value.smtp_port}`;
  });
  on("ready", () => {
    requestAnimationFrame(() => { live = true; });
    at("link-dot").classList.add("on");
    at("link-text").textContent = "Live";
  });
  for (const kind of Object.keys(seen)) {
    on(kind, (record) => {
      seen[kind].set(record.seq, record);
      if (kind === "seen" && live && !current() && record.channel_id !== setting.email_channel) talkTo(digits(record.sender));
      announce(kind, record);
      bridge.somethingChanged();
      redraw(...touches[kind]);
    });
  }
  on("wire", wire.addRequest);
  on("violation", (one) => { wire.addViolation(one); bridge.somethingChanged(); });
  source.onerror = () => {
    at("link-dot").classList.remove("on");
    at("link-text").textContent = "Reconnecting";
  };
}

// --- what a person does ----------------------------------------------------------------------

function tabs(ids, then = () => {}) {
  const all = ids.map(at);
  const choose = (chosen) => all.forEach((tab) => {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    if (tab === chosen) then(tab.id);
  });
  all.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = all[(index + step + all.length) % all.length];
      choose(next);
      next.focus();
    });
  });
}

function sendOnEnter(area) {
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    area.form.requestSubmit();
  });
}

at("sms-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { channel: company().channel, to: at("number").value.trim(), text: at("sms-text").value, ...await agentFile.value() };
  if (await post("/sandbox/agent/sms", body, { to: "number", text: "sms-text", file: "sms-file" })) { at("sms-text").value = ""; agentFile.clear(); }
});

at("phone-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { provider: company().name, from: `+${current()}`, text: at("phone-text").value, ...await consumerFile.value() };
  if (await post("/sandbox/consumer/sms", body, { from: "number", text: "phone-text", file: "phone-file" })) { at("phone-text").value = ""; consumerFile.clear(); }
});

at("company").addEventListener("change", () => {
  at("company-off").checked = setting.switches.off.includes(company().name);
  redraw("people", "thread", "phone");
});
at("company-off").addEventListener("change", (event) => {
  const others = setting.switches.off.filter((name) => name !== company().name);
  setting.switches.off = event.target.checked ? [...others, company().name] : others;
  post("/sandbox/control", { sms: { off: setting.switches.off } });
});
at("number").addEventListener("input", () => redraw("people", "thread", "phone"));
at("magic-number").addEventListener("change", (event) => {
  if (!event.target.value) return;
  talkTo(digits(event.target.value));
  at("sms-text").focus();
});
at("magic-mailbox").addEventListener("change", (event) => {
  if (!event.target.value) return;
  at("email-to").value = [at("email-to").value.trim().replace(/,$/, ""), `${event.target.value}@mail.com`].filter(Boolean).join(", ");
  event.target.value = "";
  at("email-to").focus();
});
at("reset").addEventListener("click", () => post("/sandbox/reset", {}));

const agentFile = attachment("sms-file", "sms-text");
const consumerFile = attachment("phone-file", "phone-text");
mail.init({ seen, setting: () => setting, live: () => live, fill, receiptState, textOf, redraw });
everybody("all-people", false, talkTo);
everybody("all-correspondents", true, mail.talkTo);
bridge.init({ wanted, redraw: () => redraw("thread", "phone", "letters") });
wire.init();
tabs(["tab-sms", "tab-email", "tab-interactions"], (tab) => { document.querySelector("main").dataset.view = tab; });
tabs(["tab-requests", "tab-violations"]);
sendOnEnter(at("sms-text"));
for (const id of ["thread", "texts"]) stayAtTheEnd(at(id));
connect();
