"""All mails of the corpus. `python -m tests.mail.corpus` prints what is read in each of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain

from dcbridge.mail.reader import Mail, read
from tests.mail import corpus_machines, corpus_replies, corpus_text
from tests.mail.writing import Row

GROUPS = (
    corpus_text.charsets, corpus_text.headers, corpus_text.structures, corpus_text.pages, corpus_text.malformed,
    corpus_replies.attributions, corpus_replies.header_blocks, corpus_replies.clients, corpus_replies.careful,
    corpus_machines.automatic, corpus_machines.bounces,
)  # fmt: skip


def rows() -> list[Row]:
    return list(chain.from_iterable(group() for group in GROUPS))


def read_row(row: Row) -> Mail:
    return read(row.raw, envelope_from=row.envelope_from, own_domains=("company.com",))


def faults(row: Row) -> Iterator[str]:
    """What is read otherwise than it should be."""
    mail = read_row(row)
    if mail.reply != row.text:
        yield f"text {mail.reply!r} instead of {row.text!r}"
    if mail.kind is not row.kind:
        yield f"kind {mail.kind} ({mail.why}) instead of {row.kind}"
    if row.subject is not None and mail.subject != row.subject:
        yield f"subject {mail.subject!r} instead of {row.subject!r}"
    if (found := tuple(one.name for one in mail.files)) != row.files:
        yield f"files {found} instead of {row.files}"
    if row.sender is not None and (not mail.sender or (mail.sender.id, mail.sender.name) != row.sender):
        yield f"sender {mail.sender and (mail.sender.id, mail.sender.name)} instead of {row.sender}"


def main() -> int:
    wrong = 0
    for number, row in enumerate(rows(), 1):
        found = list(faults(row))
        wrong += bool(found)
        text = read_row(row).reply.replace("\n", " ⏎ ")
        sys.stdout.write(
            f"{number:4} {'ok  ' if not found else 'DIFF'} {row.kind.value:9} {row.name:48.48} {text:.60}\n"
        )
        sys.stdout.writelines(f"          {one}\n" for one in found)
    sys.stdout.write(f"{len(rows())} mails, {wrong} read otherwise than expected\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
