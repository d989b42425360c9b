// Genesys' client of the Authentication API against the sandbox.

import { assert, clientId, clientSecret, key, password, require, row, url, username } from "./judge.mjs";

const Authentication = require("genesys-authentication-client-js");
const api = new Authentication(key, url);
const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString("base64")}`;
const ask = (form) => api.retrieveToken(form, { authorization });
let found;

const accessOf = (one) => one.access_token ?? one.accessToken;
const refreshOf = (one) => one.refresh_token ?? one.refreshToken;

await row("a token by client_credentials", async () => {
  assert.ok(accessOf(await ask(Authentication.createFormClientCredentialsGrantType({}))));
});
await row("a token by password, with a refresh token", async () => {
  found = await ask(Authentication.createFormPasswordGrantType(username, password, {}));
  assert.ok(refreshOf(found));
});
await row("the next token by the refresh token, which works once", async () => {
  const form = Authentication.createFormParamRefreshTokenGrantType(refreshOf(found), {});
  assert.ok(accessOf(await ask(form)));
  await assert.rejects(ask(form));
});
await row("a code that is wrong is refused", async () => {
  await assert.rejects(ask(Authentication.createFormAuthCodeGrantType("https://bridge.example.com/signed-in", "wrong", {})));
});
await row("another client's secret is refused", async () => {
  const wrong = `Basic ${Buffer.from(`${clientId}:another`).toString("base64")}`;
  await assert.rejects(api.retrieveToken(Authentication.createFormClientCredentialsGrantType({}), { authorization: wrong }));
});
await row("whose token it is: userinfo", async () => {
  const said = await api.getUserInfo(`Bearer ${accessOf(found)}`);
  assert.ok(said.contactCenterId ?? said.contact_center_id);
});
process.exit(0);
