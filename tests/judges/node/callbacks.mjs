// Genesys' client of Engagement against the sandbox: callbacks; and our own request, read by its models.

import { assert, key, require, row, sandbox, url } from "./judge.mjs";

const { ApiClient, AvailabilityApi, CallbackIdParms, CallbacksApi, CreateCallbackParms, QueueStatusApi } = require("engagement-client-js");
const client = new ApiClient();
client.basePath = `${url}/engagement/v3`;
const [callbacks, availability, queue] = [new CallbacksApi(client), new AvailabilityApi(client), new QueueStatusApi(client)];

function wish(desiredTime) {
  const body = new CreateCallbackParms("Sales", "+16504661149");
  body.serviceName = "Sales";
  body.phoneNumber = "+16504661149";
  if (desiredTime) body.desiredTime = desiredTime;
  body.userData = { dcbRef: "judge" };
  body.alwaysCheckCapacity = true;
  return body;
}
const named = (id) => Object.assign(new CallbackIdParms(String(id)), { id: String(id) });
const refused = async (work, status) => {
  const error = await work.then(() => null, (found) => found);
  assert.equal(error?.status ?? error?.response?.status, status);
  return error;
};

await row("the status of a queue", async () => {
  const found = await queue.queryQueueStatus(key, "Sales");
  assert.deepEqual([found.data.ewt, found.data.offerImmediateCallback, found.data.offerScheduledCallback], [240, true, true]);
});
await row("how long the office is open", async () => {
  assert.ok((await availability.openFor(key, "Sales", {})).data.openFor > 0);
});
let slots = [];
await row("three slots of the next two days", async () => {
  const found = await availability.queryAvailabilityV2(key, "Sales", { numberOfDays: 2, maxTimeSlots: 3 });
  slots = found.data.slots;
  assert.equal(slots.length, 3);
  assert.ok(slots[0].utcTime instanceof Date && slots[0].capacity > 0);
});
await row("a call for a slot, its state, and its end by a cancellation", async () => {
  const { data } = await callbacks.bookCallbackExternal(key, wish(slots[1].utcTime));
  const found = await callbacks.queryCallbackById(key, named(data.id));
  assert.equal(found.data.callbackState, "SCHEDULED");
  assert.equal(found.data.desiredTime.getTime(), slots[1].utcTime.getTime());
  await callbacks.cancelCallback(key, named(data.id));
  await refused(callbacks.cancelCallback(key, named(data.id)), 404);
});
await row("a call as soon as possible is in the queue", async () => {
  const { data } = await callbacks.bookCallbackExternal(key, wish());
  const found = await callbacks.queryCallbackById(key, named(data.id));
  assert.equal(found.data.callbackState, "QUEUED");
  assert.ok(found.data.positionInQueue > 0);
});
await row("a full slot is refused with 429, and proposes others", async () => {
  await sandbox("call/fill", { at: slots[2].utcTime.toISOString() });
  const error = await refused(callbacks.bookCallbackExternal(key, wish(slots[2].utcTime)), 429);
  assert.ok(Object.keys(error.response.body.data.slots).length > 0);
});
await row("a service that is not there is refused with 400", async () => {
  await refused(callbacks.bookCallbackExternal(key, Object.assign(wish(), { serviceName: "Other" })), 400);
});
await row("our request to book is what its model reads and writes", async () => {
  const ours = JSON.parse(process.env.OUR_REQUEST);
  const read = CreateCallbackParms.constructFromObject(ours);
  assert.deepEqual(Object.keys(ours).filter((name) => read[name] === undefined), []);
  assert.equal(read.desiredTime.toISOString(), ours.desiredTime);
  const written = JSON.parse(JSON.stringify(read));
  for (const name of Object.keys(ours)) assert.deepEqual(written[name], ours[name], name);
});
process.exit(0);
