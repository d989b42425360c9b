"""Open Messaging as others wrote it: Genesys' own client for Python, and who else verifies such a signature.

    python -m tests.faults.cloud_judges

Installs what it asks into a folder of its own, which it removes. PureCloudPlatformClientV2 (PyPI) reads what we post,
and posts to the sandbox; @line/bot-sdk and @octokit/webhooks-methods (npm) verify what the sandbox signs, and the last
one signs what dcbridge has to take. Prints a table of passes, and ends with 1 where one fails. It takes minutes.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcbridge.genesys import cloud
from dcbridge.genesys.signature import Given, matching
from dcbridge.messages import Reason, Receipt, ReceiptStatus
from sandbox.open_messaging import signed
from tests.stack import Stack

CLIENT = "PureCloudPlatformClientV2==269.0.0"
VERIFIERS = ("@line/bot-sdk@11", "@octokit/webhooks-methods@6")
INTEGRATION, CONSUMER = "73cb7fb7-c2db-4996-88f3-0a83a4fea1da", "16504661149"
SECRETS = ("a-secret-of-sixteen", "s" * 128, "ünï-cödé-secret-0")
BODIES = (b"{}", b'{"id":"1","text":"Hello World"}', '{"text":"Grüße 👋"}'.encode(), b"\xef\xbb\xbf[1, 2]\r\n")

# Runs in the environment of Genesys' client: reads one JSON object from its input, and writes one.
ASKED = """
import json, sys
import PureCloudPlatformClientV2 as client
told = json.load(sys.stdin)
api = client.ApiClient(host=told["api"])
def unknown(value, kind):
    "Fields of a JSON value that the model of the client does not have, at any depth."
    if kind.startswith("list["):
        return [name for one in value for name in unknown(one, kind[5:-1])]
    model = getattr(client, kind, None)
    if model is None or not hasattr(model(), "attribute_map"):
        return []
    names = {sent: kept for kept, sent in model().attribute_map.items()}
    found = [f"{kind}.{name}" for name in value if name not in names]
    for name, one in value.items():
        if name in names and one is not None:
            found += unknown(one, model().swagger_types[names[name]])
    return found
if told["do"] == "read":
    out = []
    for kind, value in told["bodies"]:
        class Answer:
            data = json.dumps(value)
            def getheader(name):
                return "application/json"
        made = api.deserialize(Answer, kind)
        out.append({"unknown": unknown(value, kind), "again": api.sanitize_for_serialization(made)})
    print(json.dumps(out))
else:
    api.get_conf_url = lambda kind, host: told["login"] if kind == "login" else told["api"]
    api.get_client_credentials_token(told["client_id"], told["client_secret"])
    conversations = client.ConversationsApi(api)
    sent = conversations.post_conversations_message_inbound_open_message(told["integration"], told["message"])
    seen = conversations.get_conversations_messaging_integrations_open_integration_id(told["integration"])
    print(json.dumps({"id": sent.id, "text": sent.text, "webhook": seen.outbound_notification_webhook_url}))
"""
VERIFIES = """
const { validateSignature } = require("@line/bot-sdk");
const load = () => import("@octokit/webhooks-methods");
let input = "";
process.stdin.on("data", (piece) => { input += piece; }).on("end", async () => {
  const { verify, sign } = await load();
  const out = [];
  for (const [secret, base64, header] of JSON.parse(input)) {
    const body = Buffer.from(base64, "base64");
    const digest = header.slice("sha256=".length);
    const hex = "sha256=" + Buffer.from(digest, "base64").toString("hex");
    const text = body.toString("utf8");
    const whole = Buffer.from(text, "utf8").equals(body);
    out.push({
      line: validateSignature(body, secret, digest),
      lineOther: validateSignature(Buffer.concat([body, Buffer.from(" ")]), secret, digest),
      octokit: whole ? await verify(secret, text, hex) : null,
      made: whole ? "sha256=" + Buffer.from((await sign(secret, text)).slice(7), "hex").toString("base64") : null,
    });
  }
  console.log(JSON.stringify(out));
});
"""


def run(command: list[str], told: object, folder: Path) -> Any:
    environ = {**os.environ, "NODE_PATH": str(folder / "node_modules")}
    done = subprocess.run(
        command, input=json.dumps(told).encode(), capture_output=True, cwd=folder, env=environ, timeout=300
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return json.loads(done.stdout)


def signatures(folder: Path) -> Iterator[tuple[str, bool]]:
    rows = [(secret, body) for secret in SECRETS for body in BODIES]
    told = [(secret, base64.b64encode(body).decode(), signed(secret, body)) for secret, body in rows]
    found = run(["node", "-e", VERIFIES], told, folder)
    yield f"@line/bot-sdk verifies {len(rows)} signatures", all(one["line"] and not one["lineOther"] for one in found)
    whole = [one for one in found if one["octokit"] is not None]
    yield (
        f"@octokit/webhooks-methods verifies {len(whole)} of them, as hex digits",
        all(one["octokit"] for one in whole),
    )
    taken = []
    for (secret, body), one in zip(rows, found, strict=True):
        if one["made"] is not None:
            header = cloud.given([one["made"].encode()])
            taken.append(isinstance(header, Given) and bool(matching(header, body, [b"other", secret.encode()])))
    yield f"dcbridge takes {len(taken)} that @octokit/webhooks-methods signs", all(taken)


def bodies() -> list[tuple[str, Any]]:
    """What we post, and the client's model of it."""
    file = cloud.attachment("https://b.example.com/m/x", "file.png", "image/png")
    messages = [
        cloud.write_message(CONSUMER, "Hello", "c-1", 1612191845.123),
        cloud.write_message(CONSUMER, "With a file", "c-2", 1612191845.5, [file]),
        cloud.write_message("Shop", "", "c-3", 1612191845, [file]),
    ]
    receipts = [
        cloud.write_receipt(
            Receipt(INTEGRATION, "m-1", INTEGRATION, f"+{CONSUMER}", status, reason, "30005"), 1612191845
        )
        for status in ReceiptStatus
        for reason in (Reason if status is ReceiptStatus.FAILED else [None])
    ]
    return [
        *(("OpenInboundNormalizedMessage", json.loads(one)) for one in messages),
        *(("OpenInboundNormalizedReceipt", json.loads(one)) for one in receipts),
    ]


# The newest model of inbound content has no contentType, the one before it and the pages of Genesys have.
KNOWN = {"OpenInboundMessageContent.contentType"}


def models(python: str, folder: Path) -> Iterator[tuple[str, bool]]:
    told = bodies()
    found = run([python, "-c", ASKED], {"do": "read", "api": "http://localhost", "bodies": told}, folder)
    extra = {name for one in found for name in one["unknown"]} - KNOWN
    yield f"Genesys' client knows every field of {len(told)} bodies {sorted(extra) or ''}".strip(), not extra
    same = [
        _times_as_one(one["again"]) == _times_as_one(_without(value))
        for (_, value), one in zip(told, found, strict=True)
    ]
    yield f"and writes {sum(same)} of {len(told)} as we do", all(same)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(one) for name, one in value.items() if name != "contentType"}
    return [_without(one) for one in value] if isinstance(value, list) else value


def _times_as_one(value: Any) -> Any:
    """The client writes a time with its offset, and perhaps without its milliseconds."""
    if isinstance(value, dict):
        return {
            name: one[:19] if name == "time" else _times_as_one(one) for name, one in value.items() if one is not None
        }
    return [_times_as_one(one) for one in value] if isinstance(value, list) else value


def against_the_sandbox(python: str, folder: Path) -> Iterator[tuple[str, bool]]:
    with Stack(companies=("open-messaging",)) as stack:
        base = f"http://127.0.0.1:{stack.ports.page}/cloud"
        integration = stack.kept("cloud_integration")
        told = {
            "do": "post", "api": base, "login": f"{base}/login", "integration": integration,
            "client_id": "dcbridge", "client_secret": stack.kept("cloud_client_secret"),
            "message": json.loads(cloud.write_message(CONSUMER, "By Genesys' client", "c-9", 1612191845)),
        }  # fmt: skip
        found = run([python, "-c", ASKED], told, folder)
        yield "Genesys' client logs in at the sandbox and posts a message", found["text"] == "By Genesys' client"
        webhook = f"{stack.public}/webhooks/open-messaging/cloud"
        yield "and reads the integration", found["webhook"] == webhook
        yield "without a broken rule", stack.violations() == []


def install(folder: Path) -> str:
    """What others wrote; the Python that has it. Raises OSError or SubprocessError where it cannot be had."""
    venv.create(folder / "v", with_pip=True)
    python = str(folder / "v/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", CLIENT], check=True, timeout=380, stderr=subprocess.DEVNULL)
    (folder / "package.json").write_text("{}")
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *VERIFIERS]
    subprocess.run(npm, check=True, cwd=folder, timeout=300)
    return python


def passes(python: str, folder: Path) -> Iterator[tuple[str, bool]]:
    """What is looked at, and whether it is right."""
    for part in (signatures(folder), models(python, folder), against_the_sandbox(python, folder)):
        yield from part


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dcbridge-judges-") as name:
        folder, wrong = Path(name), 0
        for what, good in passes(install(folder), folder):
            print(f"{'pass' if good else 'FAIL'}  {what}", flush=True)  # noqa: T201 (a script prints)
            wrong += not good
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
