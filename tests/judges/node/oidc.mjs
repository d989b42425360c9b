// A provider of OpenID Connect (panva's oidc-provider), to judge our sign-in by. It says "ready" when it listens.

import { Provider } from "oidc-provider";

const { ISSUER, REDIRECT, CLIENT_ID, CLIENT_SECRET } = process.env;
const accounts = {
  ada: { email: "ada@example.com", email_verified: true, groups: ["duty"] },
  eve: { email: "eve@example.com", email_verified: true, groups: ["others"] },
};

const provider = new Provider(ISSUER, {
  clients: [
    {
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      redirect_uris: [REDIRECT],
      response_types: ["code"],
      grant_types: ["authorization_code"],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["groups"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ["a key of this run"] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, id) =>
    accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
});

provider.listen(Number(new URL(ISSUER).port), "127.0.0.1", () => console.log("ready"));
