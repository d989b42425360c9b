// CometD's own client against the sandbox. Its requests carry an API key and a token, as those of Genesys' libraries do.

import { adapt } from "cometd-nodejs-client";
import { CometD } from "cometd";
import { assert, key, row, sandbox, sleep, token, until, url } from "./judge.mjs";

adapt();
const TOPIC = "/statistics/v3/service";
const requestHeaders = { "x-api-key": key, authorization: `Bearer ${await token()}` };
const cometd = new CometD();
cometd.unregisterTransport("websocket");
cometd.configure({ url: `${url}/statistics/v3/notifications`, requestHeaders, backoffIncrement: 100, logLevel: "warn" });
const heard = [];
let handshakes = 0;
cometd.addListener("/meta/handshake", (said) => { handshakes += said.successful ? 1 : 0; });

const done = (work) => new Promise((good, bad) => work((said) => (said.successful ? good(said) : bad(said))));
const told = (state) => until(() => heard.find((one) => one.data.serviceState === state));
let subscription;
const subscribed = () => done((said) => { subscription = cometd.subscribe(TOPIC, (one) => heard.push(one.data), said); });

await row("handshake", () => done((said) => cometd.handshake(said)));
await row("subscribe", () => subscribed());
await row("events come through a connect that is held", async () => {
  await sandbox("service", { state: "ONE" });
  await told("ONE");
});
await row("a connect that is held to its end is followed by the next", async () => {
  await sandbox("control", { statistics: { held: 0.3 } });
  await sandbox("service", { state: "TWO" });
  await sleep(1500);
  await sandbox("service", { state: "THREE" });
  await told("THREE");
  assert.equal(handshakes, 1);
  await sandbox("control", { statistics: { held: 5 } });
});
await row("several messages in one request (a batch)", async () => {
  const said = [];
  cometd.batch(() => {
    cometd.subscribe("/statistics/v3/updates", () => {}, (one) => said.push(one.successful));
    cometd.unsubscribe(subscription, (one) => said.push(one.successful));
  });
  await until(() => said.length === 2);
  assert.deepEqual(said, [true, true]);
  await subscribed();
});
await row("a session that is forgotten (402) is opened again", async () => {
  cometd.addListener("/meta/handshake", () => subscribed()); // as CometD's documentation has it
  await sandbox("service", { restart: true });
  await until(() => handshakes === 2);
  await sleep(300);
  await sandbox("service", { state: "FOUR" });
  await told("FOUR");
});
await row("a connection that is dropped is tried again in the same session", async () => {
  await sandbox("control", { statistics: { polls: "drop", count: 1 } });
  await sandbox("service", { state: "FIVE" });
  await told("FIVE");
  await sleep(800);
  await sandbox("service", { state: "SIX" });
  await told("SIX");
  assert.equal(handshakes, 2);
});
await row("a topic that there is none of is refused", async () => {
  await assert.rejects(done((said) => cometd.subscribe("/statistics/v3/none", () => {}, said)));
});
await row("unsubscribe", () => done((said) => cometd.unsubscribe(subscription, said)));
await row("disconnect", () => done((said) => cometd.disconnect(said)));
process.exit(0);
