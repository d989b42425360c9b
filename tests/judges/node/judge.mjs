// What the judges share: one line of JSON on standard output for each thing that was looked at.

import { createRequire } from "node:module";
import assert from "node:assert/strict";

export const require = createRequire(import.meta.url);
export { assert };

export const url = process.env.SANDBOX;
export const key = process.env.API_KEY;
export const [clientId, clientSecret] = [process.env.CLIENT_ID, process.env.CLIENT_SECRET];
export const [username, password] = [process.env.USERNAME_THERE, process.env.PASSWORD];

const WITHIN = 20_000; // ms
const log = console.log.bind(console);
console.log = console.debug = () => {}; // the libraries are talkative

export const say = (what, outcome, why = "") => log(JSON.stringify({ what, outcome, why: String(why).slice(0, 300) }));

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function row(what, work) {
  const late = sleep(WITHIN).then(() => { throw new Error("not within 20 seconds"); });
  try {
    await Promise.race([work(), late]);
    say(what, "passed");
  } catch (error) {
    say(what, "failed", error?.message ?? error?.error ?? error);
  }
}

export async function until(found) {
  for (;;) {
    const value = await found();
    if (value) return value;
    await sleep(20);
  }
}

// What the page of the sandbox can do.
export async function sandbox(path, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${url}/sandbox/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.text());
}

export async function token() {
  const basic = Buffer.from(`${clientId}:${clientSecret}`).toString("base64");
  const headers = { authorization: `Basic ${basic}`, "x-api-key": key };
  const body = new URLSearchParams({ grant_type: "client_credentials" });
  const answer = await fetch(`${url}/auth/v3/oauth/token`, { method: "POST", headers, body });
  return (await answer.json()).access_token;
}
