"""`dcbridge trigger` calls a trigger of a running service as a system outside would."""

from __future__ import annotations

from dcbridge.cli.dev.own_messages import TRIGGERS
from dcbridge.config.loader import load
from tests.cli.session import CONSUMER, Session
from tests.service.client import open_service


def with_trigger(session: Session) -> None:
    path = session.folder / "bridge.yaml"
    path.write_text(path.read_text() + TRIGGERS)


async def test_a_call_is_signed_and_its_answer_is_shown(session: Session) -> None:
    with_trigger(session)
    configuration = load(session.environ["DCBRIDGE_CONFIG"], session.environ)
    async with open_service(session.environ["DCBRIDGE_REDIS_URL"], configuration) as service:
        call = ("trigger", "textback", "--to", CONSUMER, "--var", "name=Ana", "--url", str(service.http.base_url))
        said = await session.types(*call, "--var", "at=16", "--id", "call-1")
        assert (said.code, '202 {"message":"own-' in said.out) == (0, True)
        assert '"outcome":"again"' in (await session.types(*call, "--var", "at=16", "--id", "call-1")).out
        said = await session.types(*call)
        assert (said.code, "400 " in said.out, "vars.at: is missing" in said.out) == (1, True, True)
        (session.folder / "trigger_secret").write_text("whsec_" + "D" * 43 + "=")
        assert "401 " in (await session.types(*call)).out
    said = await session.types(*call)
    assert (said.code, "the service did not answer" in said.err, "is it running there?" in said.err) == (1, True, True)
    said = await session.types("trigger", "textbak", "--to", CONSUMER)
    assert (said.code, 'known: textback; did you mean "textback"?' in said.err) == (1, True)
    said = await session.types("trigger", "textback", "--to", CONSUMER, "--var", "Ana")
    assert (said.code, "should be name=value" in said.err) == (2, True)


async def test_own_messages_need_the_key_that_consumers_are_counted_by(session: Session) -> None:
    with_trigger(session)
    del session.environ["DCBRIDGE_TOKEN_KEY"]
    for command in (("check",), ("worker", "--burst"), ("serve",)):
        said = await session.types(*command)
        assert (said.code, "messages of dcbridge's own are counted" in said.err) == (2, True)
