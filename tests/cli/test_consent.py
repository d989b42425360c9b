"""`dcbridge consent`: opt-outs from elsewhere, and those of Redis, without a number on the screen or in Redis."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml

from tests.cli.session import Session

NUMBER, OTHER = "+16504661149", "+16504661148"


@pytest.fixture
def keeps(session: Session) -> Session:
    """A session whose bridge.yaml keeps opt-outs for the whole brand."""
    path = session.folder / "bridge.yaml"
    path.write_text(path.read_text() + "\nconsent: {enforce: always, scope: brand}\n")
    return session


async def test_one_is_added_shown_and_lifted_in_any_spelling(keeps: Session) -> None:
    assert (await keeps.types("consent", "show", NUMBER)).code == 1
    added = await keeps.types("consent", "add", "-", stdin="1 (650) 466-1149\n")
    assert (added.code, added.out) == (0, "brand: opted out\n")
    assert (await keeps.types("consent", "add", NUMBER)).out == "brand: had opted out before; nothing was changed\n"
    shown = await keeps.types("consent", "show", "16504661149")
    assert shown.code == 0
    assert shown.out.startswith("brand: opted out 2")
    assert "by operator" in shown.out
    assert (await keeps.types("consent", "show", OTHER)).code == 1
    assert (await keeps.types("consent", "lift", NUMBER)).out == "brand: opt-out lifted\n"
    assert (await keeps.types("consent", "lift", NUMBER)).out == "brand: there was no opt-out; nothing was changed\n"
    assert (await keeps.types("consent", "show", NUMBER, "--json")).out == ""
    assert "6504661149" not in str(await keeps.everything())


async def test_an_export_is_imported_again(keeps: Session) -> None:
    for number in (NUMBER, OTHER):
        await keeps.types("consent", "add", number)
    exported = (await keeps.types("consent", "export")).out
    assert len(exported.splitlines()) == 3
    assert "6504661149" not in exported
    again = await keeps.types("consent", "import", "-", stdin=exported)
    assert (again.code, again.out) == (0, "2 read, 0 added.\n")
    await keeps.redis.delete("dcb:stop:brand")
    assert (await keeps.types("consent", "import", "-", stdin=exported)).out == "2 read, 2 added.\n"
    assert (await keeps.types("consent", "export")).out.splitlines()[0] == exported.splitlines()[0]
    assert sorted((await keeps.types("consent", "export")).out.splitlines()) == sorted(exported.splitlines())


HEAD: dict[str, Any] = {"opt_outs": 1}
LINE = {"scope": "brand", "consumer": "0" * 32, "at": "2026-11-26T10:00:00+00:00", "by": "keyword", "proof": "SM1"}


@pytest.mark.parametrize(
    ("change", "ok"),
    [
        ({}, True),
        ({"consumer": "16504661149"}, False),
        ({"consumer": 7}, False),
        ({"scope": ""}, False),
        ({"scope": "a\nb"}, False),
        ({"at": "yesterday"}, False),
        ({"at": "0001-01-01T00:00:00+14:00"}, False),
        ({"at": 1e300}, False),
        ({"by": "me"}, False),
        ({"proof": "x" * 201}, False),
        ({"proof": None}, False),
    ],
)
async def test_what_an_export_may_hold(keeps: Session, change: dict[str, Any], ok: bool) -> None:
    key = orjson.loads((await keeps.types("consent", "export")).out.splitlines()[0])["key"]
    text = b"\n".join(map(orjson.dumps, [HEAD | {"key": key}, LINE, LINE | change])).decode()
    said = await keeps.types("consent", "import", "-", stdin=text)
    assert said.code == (0 if ok else 2)
    assert ok or said.err == "error: line 3: is not an opt-out; nothing was imported; leave it out, or export again\n"
    assert await keeps.keys("dcb:stop:*") == (["dcb:stop:brand"] if ok else [])


@pytest.mark.parametrize("text", ["", "{}", "x", "[]", '{"opt_outs": 2}', "\x00", "{" * 5000])
async def test_something_else_is_not_imported(keeps: Session, text: str) -> None:
    said = await keeps.types("consent", "import", "-", stdin=text)
    told = "error: line 1: is not the beginning of an export; give the whole output of dcbridge consent export\n"
    assert (said.code, said.err) == (2, told)


async def test_another_key_is_refused(keeps: Session) -> None:
    exported = (await keeps.types("consent", "export")).out
    other = {"DCBRIDGE_TOKEN_KEY": "another key of sixteen"}
    said = await keeps.types("consent", "show", NUMBER, **other)
    assert (said.code, "DCBRIDGE_TOKEN_KEY: is not the one" in said.err) == (2, True)
    await keeps.redis.delete("dcb:consent-key")
    said = await keeps.types("consent", "import", "-", stdin=exported, **other)
    assert (said.code, "made with another DCBRIDGE_TOKEN_KEY" in said.err) == (2, True)


@pytest.mark.parametrize("command", [["consent", "show", NUMBER], ["check"], ["worker", "--burst"]])
async def test_without_a_key_there_are_no_tokens(keeps: Session, command: list[str]) -> None:
    del keeps.environ["DCBRIDGE_TOKEN_KEY"]
    said = await keeps.types(*command)
    assert said.code == 2
    assert "DCBRIDGE_TOKEN_KEY: is not set, and the opt-outs of channel" in said.err


async def test_where_opt_outs_are_left_to_the_provider_it_says_so(session: Session) -> None:
    said = await session.types("consent", "show", NUMBER)
    assert (said.code, "keeps no opt-outs" in said.err) == (2, True)
    assert (await session.types("check")).code == 0


async def test_no_opt_out_here_says_which_channels_are_left_to_providers(session: Session) -> None:
    path = session.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    texters = [channel for channel, one in told["channels"].items() if one["type"] == "sms"]
    told["providers"]["second"] = {
        "kind": "vonage", "api_key": "5a9b0c1d", "api_secret": "x" * 16, "signature_secret": "y" * 16,
    }  # fmt: skip
    told["channels"]["5550200001"] = {"type": "sms", "provider": "second", "number": "+15557650201"}
    path.write_text(yaml.safe_dump(told))
    shown = await session.types("consent", "show", NUMBER)
    assert (shown.code, shown.out) == (
        1,
        f"No opt-out.\nChannels whose providers keep opt-outs: {', '.join(texters)}.\n",
    )
    assert (await session.types("consent", "show", NUMBER, "--channel", "5550200001")).out == "No opt-out.\n"


@pytest.mark.parametrize(
    ("command", "number", "channel", "told"),
    [
        ("show", NUMBER, "nobody", "there is no channel nobody; dcbridge keeps opt-outs for 0123456789"),
        ("add", NUMBER, "012345678", 'there is no channel 012345678; did you mean "0123456789"?'),
        ("lift", NUMBER, "company.com", "channel company.com is for email; opt-outs are of sms channels"),
        ("show", "123", None, "is not a telephone number; write it with its country code, such as +16504661149"),
        ("add", "a@example.org", None, "is not a telephone number"),
        ("lift", "", None, "is not a telephone number"),
        ("add", "9" * 5000, None, "is not a telephone number"),
        ("show", "+16504661149 and more", None, "is not a telephone number"),
    ],
)
async def test_what_is_wrong_with_a_command(
    keeps: Session, command: str, number: str, channel: str | None, told: str
) -> None:
    said = await keeps.types("consent", command, number, *(["--channel", channel] if channel else []))
    assert said.code == 2
    assert told in said.err
    assert await keeps.keys("dcb:stop:*") == []


async def test_a_number_may_have_a_prefix(keeps: Session) -> None:
    assert (await keeps.types("consent", "add", f"whatsapp:{NUMBER}")).code == 0
    assert (await keeps.types("consent", "show", NUMBER)).code == 1
    assert (await keeps.types("consent", "show", f"whatsapp:{NUMBER}")).code == 0
