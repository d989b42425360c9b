// node fill.mjs REDIS_PORT: one job for each webhook's body on standard input, a line each.

import { createInterface } from "node:readline";
import { Queue } from "bullmq";
import { QUEUE, jobOf, redisOf } from "./parts.mjs";

const AT_ONCE = 256;
const queue = new Queue(QUEUE, { connection: redisOf(process.argv[2]) });
let jobs = [];

async function put() {
  await queue.addBulk(jobs.map((data) => ({ name: "send", data, opts: { jobId: data.messageId } })));
  jobs = [];
}

for await (const line of createInterface({ input: process.stdin })) {
  jobs.push(jobOf(line));
  if (jobs.length === AT_ONCE) await put();
}
if (jobs.length) await put();
await queue.close();
