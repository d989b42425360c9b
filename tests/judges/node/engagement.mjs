// Genesys' client of Engagement against the sandbox: as far as statistics go.

import { assert, key, require, row, sandbox, url } from "./judge.mjs";

const { ApiClient, EstimatedWaitTimeApi } = require("engagement-client-js");
const client = new ApiClient();
client.basePath = `${url}/engagement/v3`;

await row("estimated waits of two virtual queues", async () => {
  await sandbox("statistic", { queue: "VQ_Sales", value: 240 });
  const found = await new EstimatedWaitTimeApi(client).estimatedWaitTimeAPI1(key, "VQ_Sales,VQ_Other", {});
  assert.deepEqual([0, 1].map((at) => found.data[at].estimatedWaitTime), [240, -1]); // an array that has no map()
});
await row("another key is refused", async () => {
  await assert.rejects(new EstimatedWaitTimeApi(client).estimatedWaitTimeAPI1("wrong", "VQ_Sales", {}));
});
process.exit(0);
