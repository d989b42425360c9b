// node door.mjs PORT REDIS_PORT: verify, put into BullMQ's queue, answer the messageId. Serves until SIGTERM.

import { Queue } from "bullmq";
import Fastify from "fastify";
import { QUEUE, isSigned, jobOf, redisOf } from "./parts.mjs";

const [port, redis] = process.argv.slice(2);
const queue = new Queue(QUEUE, { connection: redisOf(redis) });
const app = Fastify();

app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_, body, done) => done(null, body));
app.post("/webhooks/messages/:endpoint", async (request, reply) => {
  if (!isSigned(request.headers["x-hub-signature"], request.body ?? "")) return reply.code(401).send();
  const job = jobOf(request.body);
  await queue.add("send", job, { jobId: job.messageId }); // a repetition has no second job
  return { messageId: job.messageId };
});

process.on("SIGTERM", async () => {
  await app.close();
  await queue.close();
  process.exit(0);
});
await queue.waitUntilReady();
await app.listen({ host: "127.0.0.1", port: Number(port) });
