// What a message is on its way, without any package: the same work as dcbridge's, so far as it goes.

import { createHmac, timingSafeEqual } from "node:crypto";

export const SECRET = "benchmark-benchmark";
export const QUEUE = "messages";
const ACCOUNT = "AC00000000000000000000000000000000";
export const PROVIDER_PATH = `/2010-04-01/Accounts/${ACCOUNT}/Messages.json`;
export const PROVIDER_HEADERS = {
  authorization: `Basic ${Buffer.from(`${ACCOUNT}:${SECRET}`).toString("base64")}`,
  "content-type": "application/x-www-form-urlencoded",
};

/** Whether Digital Channels signed these bytes: sha1= and the hex digits of their HMAC-SHA1. */
export function isSigned(header, body) {
  const right = Buffer.from(`sha1=${createHmac("sha1", SECRET).update(body).digest("hex")}`);
  const given = Buffer.from(header ?? "");
  return given.length === right.length && timingSafeEqual(given, right);
}

/** What the queue keeps of a webhook's body. */
export function jobOf(body) {
  const { channel, text } = JSON.parse(body);
  return { messageId: channel.messageId, from: channel.from.id, to: channel.to.id, text };
}

/** The provider's form. */
export function formOf({ to, text }) {
  return new URLSearchParams({ To: `+${to}`, From: "+15557650123", Body: text }).toString();
}

/** The receipt that says Delivered, and its headers. */
export function receiptOf({ messageId, from, to }) {
  const channel = { from: { id: from }, to: { id: to }, messageId };
  const body = JSON.stringify({ messages: [{ channel, type: "Receipt", status: "Delivered" }] });
  const digest = createHmac("sha1", SECRET).update(body).digest("hex");
  return { body, headers: { "content-type": "application/json", "x-hub-signature": `sha1=${digest}` } };
}

export function redisOf(port) {
  return { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };
}
