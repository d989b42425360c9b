// node worker.mjs WORLDS_PORT REDIS_PORT CONCURRENCY: to the provider, then the receipt. Works until SIGTERM.

import { Worker } from "bullmq";
import { Pool } from "undici";
import { PROVIDER_HEADERS, PROVIDER_PATH, QUEUE, formOf, receiptOf, redisOf } from "./parts.mjs";

const [worlds, redis, concurrency] = process.argv.slice(2);
const pool = new Pool(`http://127.0.0.1:${worlds}`, { connections: Number(concurrency) + 50 });

async function post(path, headers, body, status) {
  const answer = await pool.request({ method: "POST", path, headers, body });
  const said = await answer.body.json();
  if (answer.statusCode !== status) throw new Error(`HTTP ${answer.statusCode}`);
  return said;
}

async function send({ data }) {
  const { sid } = await post(PROVIDER_PATH, PROVIDER_HEADERS, formOf(data), 201);
  const { body, headers } = receiptOf(data);
  await post(`/nexus/v3/channels/${data.from}/messages`, headers, body, 200);
  return sid;
}

const worker = new Worker(QUEUE, send, { connection: redisOf(redis), concurrency: Number(concurrency) });
worker.on("error", (error) => console.error(error));
worker.on("failed", (job, error) => console.error(job?.id, error));

process.on("SIGTERM", async () => {
  await worker.close();
  await pool.close();
  process.exit(0);
});
