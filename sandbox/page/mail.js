// Email on the page: conversations on the agent's desktop, and the mail program of the consumers.
// HTML of a mail is shown in a frame in which nothing runs; the sandbox cleans it before.

import { at, clock, make, post } from "./document.js";
import * as bridge from "./bridge.js";
import { attachment, bubble } from "./files.js";

const KEPT = 200;
const NEWEST = 12; // conversations that are buttons
const ALL = "";
const bySeq = (one, other) => one.seq - other.seq;
const key = (mailbox) => mailbox.trim().toLowerCase();
const size = (bytes) => bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

let page; // what page.js lends: seen, setting(), fill, receiptState, textOf, redraw
let person = ALL; // whose conversation the agent looks at
let chosen = null; // the mail that the consumer answers
let suggested = ""; // the subject that was filled in for the agent
const open = new Set(); // mails that are shown whole
const drawn = new Map(); // by kind and seq: a node and the record that it was made of

export function init(lent) {
  page = lent;
  const agentFile = attachment("email-file", "email-text");
  const consumerFile = attachment("mail-file", "mail-text");
  at("email-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const reply = at("email-reply").value.trim();
    const body = { to: addresses(at("email-to").value), subject: at("email-subject").value, text: at("email-text").value || " ", ...await agentFile.value() };
    if (reply) body.replyTo = { id: reply };
    if (await post("/sandbox/agent/email", body, { to: "email-to", id: "email-to", replyTo: "email-reply", subject: "email-subject", text: "email-text", file: "email-file" })) { at("email-text").value = ""; agentFile.clear(); }
  });
  at("mail-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { style: style().name, from: at("mail-from").value.trim(), text: at("mail-text").value, ...await consumerFile.value() };
    if (chosen && style().quotes) body.answers = chosen.seq;
    const made = await post("/sandbox/consumer/mail", body, { from: "mail-from", text: "mail-text", style: "mail-style", file: "mail-file" });
    if (!made) return;
    at("mail-text").value = "";
    consumerFile.clear();
  });
  at("mail-style").addEventListener("change", drawComposer);
  at("mail-new").addEventListener("click", () => { choose(null); at("mail-text").focus(); });
  at("mail-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); at("mail-form").requestSubmit(); }
  });
}

export function forget() {
  person = ALL;
  open.clear();
  drawn.clear();
  choose(null);
}

function addresses(text) {
  return text.split(",").map((one) => one.trim()).filter(Boolean).map((one) => {
    const found = one.match(/^(.*?)\s*<([^<>]+)>$/);
    return found ? { name: found[1].replace(/^"|"$/g, ""), id: found[2].trim() } : { id: one };
  });
}

// --- the agent's desktop ---------------------------------------------------------------------

const ours = (one) => one.channel_id === page.setting().email_channel;
const emails = () => [...page.seen.agent.values()].filter((one) => one.type === "Email");
const heard = () => [...page.seen.seen.values()].filter(ours);

export function drawCorrespondents() {
  const latest = new Map();
  const note = (mailbox, seq) => latest.set(key(mailbox), Math.max(seq, latest.get(key(mailbox)) ?? 0));
  for (const one of emails()) one.recipients.forEach((to) => note(to, one.seq));
  for (const one of heard()) note(one.sender, one.seq);
  const mailboxes = [...latest].sort((one, other) => other[1] - one[1]).slice(0, NEWEST).map(([mailbox]) => mailbox);
  if (person && !latest.has(person)) person = ALL;
  const focused = at("correspondents").contains(document.activeElement) ? document.activeElement.dataset.mailbox : null;
  const button = (mailbox, words) => {
    const node = make("button", { type: "button", "aria-pressed": String(mailbox === person), "data-mailbox": mailbox, text: words });
    node.addEventListener("click", () => talkTo(mailbox));
    return node;
  };
  at("correspondents").replaceChildren(...(mailboxes.length ? [button(ALL, "Everybody"), ...mailboxes.map((one) => button(one, one))] : []));
  if (focused !== null) [...at("correspondents").children].find((one) => one.dataset.mailbox === focused)?.focus();
}

export function talkTo(mailbox) {
  person = mailbox;
  if (mailbox) {
    at("email-to").value = mailbox;
    const subject = emails().filter((one) => one.recipients.some((to) => key(to) === mailbox)).sort(bySeq).at(-1)?.subject;
    const field = at("email-subject"); // what somebody has just written there stays
    if (subject && ["", suggested, field.defaultValue, ...emails().map((one) => one.subject)].includes(field.value)) {
      suggested = /^re:/i.test(subject) ? subject : `Re: ${subject}`;
      field.value = suggested;
    }
  }
  page.redraw("correspondents", "letters");
}

export function drawLetters() {
  const hers = (mailbox) => !person || key(mailbox) === person;
  const sent = emails().filter((one) => one.recipients.some(hers));
  const got = heard().filter((one) => hers(one.sender));
  page.fill(at("letters"), [...sent, ...got].sort(bySeq).slice(-KEPT), (one) => one.recipients ? letter(one) : answer(one),
    "Write an email to several people. Each of them gets a receipt, and their answers come here.");
}

function letter(one) {
  const said = bubble(page.textOf(one), one.media);
  if (one.state !== "unseen") said.prepend(make("strong", { text: one.subject || "(no subject)" }));
  return make("li", { class: "said mine" }, said, make("div", { class: "each" }, ...one.recipients.map((to, place) => {
    const [kind, words, why] = page.receiptState(one, to);
    return make("div", { class: "meta" }, make("span", { text: to }), make("span", { class: `state ${kind}`, text: words }), ...bridge.about(one.channel_id, one.message_id, place, Boolean(one.receipts[to])), why && make("span", { class: "why", text: why }));
  })));
}

// What was left out of a mail can be looked at: nothing of it is lost, and whether that was right can be seen.
function answer(one) {
  const lines = one.left_out ?? [];
  const said = bubble(one.text, one.media);
  const cut = lines.length && make("details", { class: "cut" },
    make("summary", { text: `${lines.length} ${lines.length === 1 ? "line" : "lines"} left out` }), make("pre", { text: lines.join("\n") }));
  if (cut) {
    const id = `cut ${one.seq}`;
    cut.open = open.has(id);
    cut.addEventListener("toggle", () => { if (cut.open) open.add(id); else open.delete(id); });
  }
  const reply = make("button", { type: "button", class: "link-like", text: "Reply" });
  reply.addEventListener("click", () => { talkTo(key(one.sender)); at("email-text").focus(); });
  return make("li", { class: "said" }, said, cut || null, make("div", { class: "meta" }, clock(one.at), make("span", { text: `from ${one.sender}` }), reply));
}

// --- the consumers' mail program -------------------------------------------------------------

export function drawMails() {
  const mails = [
    ...[...page.seen.mail.values()].map((mail) => ["mail", mail]),
    ...[...page.seen.written.values()].map((mail) => ["written", mail]),
  ].sort((one, other) => other[1].seq - one[1].seq).slice(0, KEPT);
  const nodes = mails.map(([kind, mail]) => kept(kind, mail));
  if (!nodes.length) nodes.push(make("p", { class: "empty", text: "Every email that dcbridge sends arrives here. Open one and answer it." }));
  arrange(at("mails"), nodes);
  if (chosen) chosen = page.seen.mail.get(chosen.seq) ?? null;
  drawComposer();
}

// A node stays where it is while nothing before it changes: a frame that moves is loaded anew.
function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const node of [...list.children]) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, place) => { if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null); });
}

function kept(kind, mail) {
  const id = `${kind} ${mail.seq}`;
  const known = drawn.get(id);
  if (known?.mail === mail) return known.node;
  const node = entry(kind, mail, id);
  drawn.set(id, { mail, node });
  return node;
}

const WRITTEN = { sending: ["wait", "sending"], taken: ["good", "✓ taken"], refused: ["bad", "✕ refused"] };

function state(kind, mail) {
  if (kind === "written") return WRITTEN[mail.state];
  if (mail.recipients.some((one) => one.status === "failed")) return ["bad", "bounced"];
  return mail.recipients.every((one) => one.status === "delivered") ? ["good", "delivered"] : ["wait", "accepted"];
}

function entry(kind, mail, id) {
  const [look, words] = state(kind, mail);
  const who = kind === "mail" ? mail.recipients.map((one) => one.address).join(", ") : mail.sender;
  const summary = make("summary", {},
    make("span", { class: "to" }, kind === "written" && make("span", { class: "arrow", title: "written here", text: "↗ " }), who), clock(mail.at),
    make("span", { class: "subject", text: mail.subject || "(no subject)" }), make("span", { class: `pill ${look}`, text: words }));
  const details = make("details", { class: kind, ...(open.has(id) ? { open: "" } : {}) }, summary);
  const fill = () => { if (details.open && details.childElementCount < 2) details.append(opened(kind, mail)); };
  details.addEventListener("toggle", () => {
    if (details.open) open.add(id); else open.delete(id);
    fill();
    if (kind === "mail" && details.open && details.isConnected && page.live()) choose(mail);
  });
  fill();
  return details;
}

function opened(kind, mail) {
  const pair = (name, value) => value ? [make("dt", { text: name }), make("dd", { text: value })] : [];
  const about = kind === "mail"
    ? [...pair("From", mail.from), ...pair("To", mail.to), ...pair("Reply to", mail.reply_to),
      ...pair("Envelope", `${mail.mail_from} to ${mail.recipients.map((one) => one.address).join(", ")}`),
      ...pair("Reports", mail.recipients.map((one) => one.notify.join(", ").toLowerCase() || "not asked for").join("; "))]
    : [...pair("From", mail.sender), ...pair("To", mail.to), ...pair("Kind", label(mail.style)), ...pair("mail-in", mail.answer)];
  return make("div", { class: "letter" },
    make("h3", { text: mail.subject || "(no subject)" }),
    make("dl", {}, ...about),
    ...bodies(kind, mail),
    mail.files.length > 0 && make("ul", { class: "enclosed" }, ...mail.files.map(enclosed)),
    kind === "mail" && page.setting().mail?.on && replyButton(mail));
}

function replyButton(mail) {
  const button = make("button", { type: "button", class: "second", text: "Answer" });
  button.addEventListener("click", () => { choose(mail); at("mail-text").focus(); });
  return make("div", { class: "buttons" }, button);
}

function enclosed(file) {
  const link = make("a", { href: file.url, target: "_blank", rel: "noopener" });
  if (/^image\/(png|jpeg|gif|webp)$/.test(file.type)) link.append(make("img", { src: file.url, alt: "" }));
  link.append(make("span", { text: file.name }), make("small", { text: size(file.size) }));
  return make("li", {}, link);
}

// The HTML of a mail, its text, and its source, as far as it has them.
function bodies(kind, mail) {
  const text = make("pre", { class: "text", text: mail.text.trim() || "(no text part)" });
  if (!mail.html) return [text];
  const frame = make("iframe", { src: `/sandbox/${kind}/${mail.seq}/html`, title: "The mail as HTML", sandbox: "allow-same-origin allow-popups allow-popups-to-escape-sandbox" });
  frame.addEventListener("load", () => {
    const shown = frame.contentDocument?.documentElement;
    if (shown) frame.style.height = `${Math.min(Math.max(shown.scrollHeight + 4, 44), 640)}px`;
  });
  const source = make("pre", { class: "source", text: mail.html.trim(), tabindex: "0" });
  const all = [["HTML", frame], ...(mail.text.trim() ? [["Text", text]] : []), ["Source", source]];
  const buttons = all.map(([name, body], place) => {
    const button = make("button", { type: "button", "aria-pressed": String(place === 0), text: name });
    button.addEventListener("click", () => {
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      all.forEach(([, other]) => { other.hidden = other !== body; });
    });
    return button;
  });
  all.forEach(([, body], place) => { body.hidden = place > 0; });
  return [make("div", { class: "views", role: "group", "aria-label": "How the mail is shown" }, ...buttons), ...all.map(([, body]) => body)];
}

// --- what she writes -------------------------------------------------------------------------

const styles = () => page.setting().mail?.styles ?? [];
const label = (name) => styles().find((one) => one.name === name)?.says ?? name;
const style = () => styles().find((one) => one.name === at("mail-style").value) ?? styles()[0];

export function newSetting() {
  const kept = at("mail-style").value;
  at("mail-style").replaceChildren(...styles().map((one) => make("option", { value: one.name, text: one.says })));
  if (styles().some((one) => one.name === kept)) at("mail-style").value = kept;
  choose(chosen);
}

function choose(mail) {
  chosen = mail;
  if (mail) at("mail-from").value = mail.recipients[0].address;
  if (page) {
    if (mail && style() && !style().quotes) at("mail-style").value = styles()[0]?.name ?? "";
    if (!mail && style()?.quotes) at("mail-style").value = styles().find((one) => !one.quotes)?.name ?? "";
    drawComposer();
  }
}

function drawComposer() {
  const told = page.setting().mail;
  at("mail-form").hidden = at("mail-new").hidden = !told?.on;
  at("mail-off").hidden = !told || told.on;
  if (!told?.on) return;
  for (const option of at("mail-style").options) option.disabled = !chosen && styles().find((one) => one.name === option.value).quotes;
  at("mail-about").textContent = chosen && style()?.quotes ? `Answer to “${chosen.subject || "(no subject)"}”` : `New mail to ${told.mailbox}`;
  at("mail-expect").textContent = style()?.expect ?? "";
  const nothing = style()?.name === "bounce";
  at("mail-text").disabled = nothing;
  at("mail-text").required = !nothing && !at("mail-file").files.length;
}

