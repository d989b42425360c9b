// node server.mjs PORT TIMEOUT MAX_INTERVAL: CometD's own server, which publishes a number to a topic every 50 ms once
// somebody has subscribed. Times in ms. POST /quiet stops that, POST /loud begins it again.

import http from "node:http";
import { createRequire } from "node:module";

const { createCometDServer } = createRequire(import.meta.url)("cometd-nodejs-server");
const [port, timeout, maxInterval] = process.argv.slice(2).map(Number);
const TOPIC = "/statistics/v3/updates";
const server = createCometDServer({ timeout, maxInterval, sweepPeriod: 100 });
let number = 0, loud = true;
setInterval(() => {
  const channel = server.createServerChannel(TOPIC); // one that is idle is swept away: it is looked for each time
  if (loud && channel.subscribers.length) channel.publish(null, { number: number++ });
}, 50);

http.createServer((request, response) => {
  if (request.url === "/quiet" || request.url === "/loud") {
    loud = request.url === "/loud";
    response.end();
    return;
  }
  server.handle(request, response);
}).listen(port, "127.0.0.1", () => console.log("ready"));
