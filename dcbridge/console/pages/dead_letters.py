"""Dead letters: which there are, why, and what may be done with them: reveal, mend, replay, drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import action, form_of, page, record
from dcbridge.console.answers import ASKED, Fields, asked, back_to, link, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.console.stops import NO_REASON, reason, who
from dcbridge.ledger.dead_letters import DeadLetter, Selection
from dcbridge.ledger.fields import Kind
from dcbridge.operations import controls, dead_letters
from dcbridge.operations.dead_letter_reasons import why
from dcbridge.operations.dead_letter_runs import Runs, TooMany
from dcbridge.operations.dead_letters import Chosen
from dcbridge.printable import printable_lines
from dcbridge.replay import Replay, may_be_mended

SHOWN = 50
LOOKED = 2000  # letters that one page looks at for those that match
STEP = 500
TRIED = 200  # letters that a dry run tries
DROPPED = 10_000  # letters that are dropped at once; the oldest
RAW_SHOWN = 64 << 10  # bytes
AGES = (("", "any"), ("3600", "in the last hour"), ("86400", "in the last day"), ("604800", "in the last 7 days"))
RATES = (("0", "as fast as can be"), ("1", "1 a second"), ("5", "5 a second"), ("50", "50 a second"))
NOTICES = {
    "replayed": "It was replayed, and is no dead letter any more.",
    "dropped": "What was chosen has been dropped.",
    "mended": "The mended copy was accepted, and the dead letter has left.",
    "stopped": "The replay has stopped. What is left is still in the list.",
}
RUNS = Runs()


# ---------------------------------------------------------------- which


@dataclass(frozen=True, slots=True)
class Filter:
    """As the query says it."""

    what: str = ""
    channel: str = ""
    reason: str = ""
    age: str = ""

    @property
    def is_set(self) -> bool:
        return any((self.what, self.channel, self.reason, self.age))

    def selection(self, now: float) -> Selection:
        kind = next((one for one in Kind if one.option == self.what), "")
        return Selection(kind, self.channel, self.reason, now - float(self.age) if self.age else None)

    def parts(self) -> dict[str, str]:
        return {"what": self.what, "channel": self.channel, "reason": self.reason, "age": self.age}

    def __str__(self) -> str:
        words = [self.what] * bool(self.what) + [f"channel {self.channel}"] * bool(self.channel)
        words += [f"reason {self.reason}"] * bool(self.reason) + [dict(AGES)[self.age]] * bool(self.age)
        return ", ".join(words) or "all dead letters"


def filter_of(given: dict[str, str]) -> Filter:
    """What is no kind, and no age of the list, is none."""
    what, age = given.get("what", ""), given.get("age", "")
    return Filter(
        what if what in {one.option for one in Kind} else "",
        given.get("channel", "").strip()[:ASKED],
        given.get("reason", "").strip()[:ASKED],
        age if age in dict(AGES) else "",
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `looked`: letters that were read for it; `cursor` of those behind them, "" at the end."""

    letters: Sequence[DeadLetter]
    cursor: str
    looked: int


async def find(context: ConsoleContext, selection: Selection, cursor: str) -> Found:
    """The next letters that match, of at most LOOKED: eight round trips."""
    letters, looked = context.ledger.dead_letters, 0
    found: list[DeadLetter] = []
    step = SHOWN if selection == Selection(since=selection.since) else STEP
    while looked < LOOKED:
        some = await letters.page(cursor, step, selection.since)
        ids = list(some.members)
        place = 0
        async for letter in letters.read(ids):
            place += 1
            if letter is not None and selection.has(letter):
                found.append(letter)
            if len(found) == SHOWN:
                behind = some.cursor if place == len(ids) else some.members[ids[place - 1]]
                return Found(found, behind, looked + place)
        looked, cursor = looked + len(ids), some.cursor
        if not cursor:
            break
    return Found(found, cursor, looked)


@page("/dead-letters", Role.VIEWER)
async def dead_letter_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    query = request.query_params
    chosen = filter_of({name: query.get(name, "") for name in ("what", "channel", "reason", "age")})
    now = await controls.now(context.ledger)
    cursor = asked(query, "cursor")
    found = await find(context, chosen.selection(now), cursor)
    kinds = Counter(letter.what for letter in found.letters)
    return render(
        request,
        "dead_letters.html",
        title="Dead letters",
        notice=notice(request, NOTICES),
        now=now,
        all=await context.ledger.dead_letters.count(),
        rows=[(letter, why(letter)) for letter in found.letters],
        kinds=kinds.most_common(),
        filter=chosen,
        whats=[("", "any"), *((one.option, one.value) for one in Kind)],
        ages=AGES,
        looked=found.looked,
        newest=link("/dead-letters", **chosen.parts()) if cursor else "",
        older=link("/dead-letters", **chosen.parts(), cursor=found.cursor) if found.cursor else "",
        runs=RUNS.under_way(),
        channels=context.configuration.channels,
        days=context.settings.dead_letter_days,
    )


# ---------------------------------------------------------------- one


async def _letter(request: Request, context: ConsoleContext) -> DeadLetter:
    """Raises HTTPException 404."""
    letter = await anext(context.ledger.dead_letters.read([request.path_params["letter"]]))
    if letter is None:
        raise HTTPException(404)
    return letter


async def _show(
    request: Request,
    context: ConsoleContext,
    letter: DeadLetter,
    status: int = 200,
    *,
    raw: bytes | None = None,
    mended: str | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    session = context.session()
    would = await Replay(session.ledger, session.configuration, dry_run=True).one(letter)
    now = await controls.now(context.ledger)
    return render(
        request,
        "dead_letter.html",
        status,
        title=why(letter).title,
        notice=notice(request, NOTICES),
        now=now,
        letter=letter,
        why=why(letter),
        would=would,
        channels=session.configuration.channels,
        kept_until=now + await context.ledger.dead_letters.seconds_left(letter.id),
        trace=await context.ledger.dead_letters.trace(letter.id),
        raw=_readable(raw) if raw is not None else None,
        raw_is_whole=raw is None or len(raw) <= RAW_SHOWN,
        may_be_mended=may_be_mended(letter) and letter.size <= RAW_SHOWN,
        mended=mended,
        errors=Fields(errors or {}),
    )


def _readable(raw: bytes) -> str:
    """Text as text; anything else as hex digits."""
    some = raw[:RAW_SHOWN]
    try:
        return printable_lines(some.decode())
    except UnicodeDecodeError as error:
        if len(raw) > RAW_SHOWN and error.start > RAW_SHOWN - 4:  # cut in the middle of a character
            return printable_lines(some[: error.start].decode())
        return "\n".join(some[at : at + 32].hex(" ") for at in range(0, min(len(some), 16 << 10), 32))


@page("/dead-letters/{letter}", Role.VIEWER)
async def dead_letter(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Without its bytes."""
    return await _show(request, context, await _letter(request, context))


@action("/dead-letters/{letter}/reveal", Role.OPERATOR, "dead.reveal")
async def reveal(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """With its bytes, as they came; written down before they are shown."""
    letter = await _letter(request, context)
    raw = await context.ledger.dead_letters.raw(letter.id)
    if raw is None:
        raise HTTPException(404)
    record(request, result=f"{letter.what}, {len(raw)} bytes")
    mended = raw.decode("utf-8", "replace") if may_be_mended(letter) and len(raw) <= RAW_SHOWN else None
    return await _show(request, context, letter, raw=raw, mended=mended)


@action("/dead-letters/{letter}/mend", Role.ADMIN, "dead.mend")
async def mend(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Replay other bytes in its place: what they say is sent as if Genesys had sent it."""
    letter = await _letter(request, context)
    form = form_of(request)
    mended = form.get("bytes", "").replace("\r\n", "\n")
    session = context.session()
    if not reason(form):
        errors = {"why": NO_REASON}
    elif not mended.strip() or len(mended.encode("utf-8", "replace")) > RAW_SHOWN:
        errors = {"bytes": f"should be a text of at most {RAW_SHOWN:,} bytes"}
    else:
        dry = form.get("step") != "replay"
        replay = Replay(session.ledger, session.configuration, dry_run=dry)
        result = await replay.one(letter, mended.encode("utf-8", "replace"))
        record(request, result=f"{'would be ' if dry else ''}{'mended' if result.done else 'refused'}: {result.says}")
        if result.done and not dry:
            return back_to("dead-letters", done="mended")
        errors = {"would": result.says} if result.done else {"bytes": result.says}
    return await _show(request, context, letter, 200 if "would" in errors else 422, mended=mended, errors=errors)


@action("/dead-letters/{letter}/replay", Role.OPERATOR, "dead.replay")
async def replay_one(request: Request, context: ConsoleContext, _person: Person) -> Response:
    letter = await _letter(request, context)
    session = context.session()
    result = await Replay(session.ledger, session.configuration).one(letter)
    record(request, result=f"{'replayed' if result.done else 'not replayed'}: {result.says}")
    if not result.done:
        return await _show(request, context, letter, 409, errors={"replay": result.says})
    return back_to("dead-letters", done="replayed")


# ---------------------------------------------------------------- several


async def _chosen(request: Request, context: ConsoleContext) -> tuple[Filter, Chosen, list[str]]:
    """What the form names: boxes that are ticked, or all that match its filter; and the ids to look at."""
    form = form_of(request)
    given = filter_of({name: form.get(name, "") for name in ("what", "channel", "reason", "age")})
    ids = tuple(dict.fromkeys(form.getlist("id")))[:SHOWN] if form.get("which") != "all" else ()
    if not ids and form.get("which") != "all":
        raise HTTPException(400, "Tick dead letters of the list first, or choose all that match.")
    selection = given.selection(await controls.now(context.ledger))
    chosen = Chosen(ids, Selection() if ids else selection)
    return given, chosen, await chosen.ids_of(context.ledger.dead_letters)


def _named(given: Filter, chosen: Chosen) -> str:
    return ", ".join(chosen.ids)[:ASKED] if chosen.ids else str(given)


@action("/dead-letters/replay", Role.OPERATOR, "dead.replay", recorded=False)
async def replay_many(request: Request, context: ConsoleContext, person: Person) -> Response:
    """First what would be done, then doing it; the run writes the record."""
    given, chosen, ids = await _chosen(request, context)
    form = form_of(request)
    errors: dict[str, str] = {}
    if form.get("step") == "do":
        if not (because := reason(form)):
            errors = {"why": NO_REASON}
        else:
            rate = float(form["rate"]) if form.get("rate", "") in dict(RATES) else 0.0
            try:
                run = await RUNS.begin(
                    context.session(), chosen, ids, _named(given, chosen), who(person, because), rate
                )
            except TooMany:
                raise HTTPException(409, "Other replays are under way: wait for one to end, or stop it.") from None
            return back_to("dead-letters", "runs", run.id)
    counts: Counter[tuple[bool, str]] = Counter()
    async for _, result in dead_letters.replay_all(context.session(), chosen, ids[:TRIED], dry_run=True):
        counts[result.done, result.says] += 1
    return render(
        request,
        "dead_letters_replay.html",
        422 if errors else 200,
        title="Replay dead letters",
        chosen=chosen,
        given=given,
        named=_named(given, chosen),
        total=len(ids),
        tried=min(len(ids), TRIED),
        counts=counts.most_common(),
        done=sum(count for (done, _), count in counts.items() if done),
        rates=RATES,
        errors=Fields(errors),
    )


@page("/dead-letters/runs/{run}", Role.VIEWER)
async def run_page(request: Request, context: ConsoleContext, _person: Person) -> Response:
    run = RUNS.get(request.path_params["run"])
    return render(
        request,
        "dead_letters_run.html",
        200 if run else 404,
        title="Replay of dead letters",
        notice=notice(request, NOTICES),
        run=run,
        now=await controls.now(context.ledger),
    )


@action("/dead-letters/runs/{run}/stop", Role.OPERATOR, "dead.replay.stop")
async def stop_run(request: Request, _context: ConsoleContext, _person: Person) -> Response:
    run = request.path_params["run"]
    stopped = await RUNS.stop(run)
    record(request, result="stopped" if stopped else "not under way")
    return back_to("dead-letters", "runs", run, done="stopped" if stopped else "")


@action("/dead-letters/drop", Role.ADMIN, "dead.drop", recorded=False)
async def drop_many(request: Request, context: ConsoleContext, person: Person) -> Response:
    """First how many, then doing it."""
    given, chosen, ids = await _chosen(request, context)
    letters = context.ledger.dead_letters
    matching = [one.id async for one in dead_letters.matching(letters, ids[:DROPPED], chosen.selection)]
    form = form_of(request)
    errors: dict[str, str] = {}
    if form.get("step") == "do":
        if because := reason(form):
            of, by = _named(given, chosen), who(person, because)
            await context.ledger.controls.note(by.by, "dead.drop", of, by.why, f"began, of {len(matching)}")
            dropped = await dead_letters.drop_all(context.session(), matching)
            await context.ledger.controls.note(by.by, "dead.drop", of, by.why, f"{dropped} dropped")
            return back_to("dead-letters", done="dropped")
        errors = {"why": NO_REASON}
    return render(
        request,
        "dead_letters_drop.html",
        422 if errors else 200,
        title="Drop dead letters",
        chosen=chosen,
        given=given,
        named=_named(given, chosen),
        count=len(matching),
        more=max(0, len(ids) - DROPPED),
        errors=Fields(errors),
    )


ROUTES = [
    dead_letter_list,
    dead_letter,
    reveal,
    mend,
    replay_one,
    replay_many,
    run_page,
    stop_run,
    drop_many,
]
