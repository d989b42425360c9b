// Genesys' client of the Statistics API against the sandbox.

import { assert, key, require, row, sandbox, sleep, token, until, url } from "./judge.mjs";

const Statistics = require("genesys-statistics-client-js");
const OBJECT = { objectType: "Queue", objectId: "VQ_Sales" };
const NAME = "AverageWaitingTime";
const OURS = { name: NAME, type: "Queue", id: "VQ_Sales" };
const ID = "3f0ff5a6-3f4b-4b62-8f39-0d8a4e0f9b11";

const statistics = new Statistics(key, url);
const updates = [], states = [];

await sandbox("statistic", { ...OURS, value: 100 });
await row("initialize: handshake and both topics", async () => {
  await statistics.initialize(await token());
  statistics.on(statistics.UPDATES_EVENT, (data) => updates.push(data));
  statistics.on(statistics.SERVICE_CHANGE_EVENT, (data) => states.push(data));
  await sleep(500); // its subscribes are not waited for
});
await row("peek: getStatValues", async () => {
  const found = await statistics.getStatValues([{ name: NAME, ...OBJECT }]);
  assert.equal(found.data.statistics[0].value.value, 100);
});
await row("one value: getStatValue", async () => {
  const found = await statistics.getStatValue(NAME, "VQ_Sales", "Queue");
  assert.equal(found.data.statistic.value.value, 100);
});
await row("subscribe: createSubscription, in the session of its cookies", async () => {
  const found = await statistics.createSubscription(ID, [{ statisticId: "wait", name: NAME, ...OBJECT }]);
  assert.equal(found.data.subscriptionId, ID);
  assert.equal(found.data.statistics[0].statisticId, "wait");
});
await row("values of a subscription: peekSubscriptionStats", async () => {
  const found = await statistics.peekSubscriptionStats(ID, ["wait"]);
  assert.equal(found.data.statistics.length, 1);
});
await row("three updates in their order", async () => {
  for (const value of [110, 120, 130]) await sandbox("statistic", { ...OURS, value });
  await until(() => updates.length >= 3);
  assert.deepEqual(updates.map((one) => one.data.statistics[0].value.value), [110, 120, 130]);
});
await row("UNAVAILABLE arrives, and drops the subscription", async () => {
  await sandbox("service", { state: "UNAVAILABLE" });
  await until(() => states.length);
  assert.equal(states[0].data.serviceState, "UNAVAILABLE");
  await assert.rejects(statistics.peekSubscriptionStats(ID, []));
});
await row("AVAILABLE, and another subscription", async () => {
  await sandbox("service", { state: "AVAILABLE" });
  await until(() => states.length > 1);
  const again = ID.replace("11", "22");
  await statistics.createSubscription(again, [{ statisticId: "wait", name: NAME, ...OBJECT }]);
  await statistics.deleteSubscription(again);
});
statistics.destroy();
await sleep(300);
process.exit(0);
