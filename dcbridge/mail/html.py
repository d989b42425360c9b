"""The HTML of a stranger's mail as text, in one pass: links kept, what a client quotes marked with "> ".

Not a parser of HTML: a tree of 20,000 nested elements has no depth here, and what is malformed is text. A mail that is
quoted stands in an element that its client marks; its lines get the same "> " as in plain text, so that
`dcbridge.mail.quotes` has one kind of quote to read.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 1 << 20  # characters that are read
MOST_TAGS = 40_000  # that are acted upon; behind them only the text between tags counts
_LONGEST_TAG = 4000  # characters of one tag whose attributes are read
_MOST_OPEN = 50  # elements at one time whose end is waited for
_MOST_QUOTES = 8  # marks before a line

_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9:-]{0,30})")
_ATTRIBUTE = re.compile(
    r"""\b(class|id|type|style|href|src|alt|name)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE
)
_ANY_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*>")
_SPACES = re.compile(r"[ \t\r\n\f\u200b\ufeff]+")
_BREAKS = re.compile(r"\n{3,}")
HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all|visibility\s*:\s*hidden", re.IGNORECASE)


def words(written: str) -> frozenset[str]:
    """Each word by itself."""
    return frozenset(written.split())


_BLOCKS = words(
    "address article aside blockquote body center dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6"
    " header hr html li main nav ol p pre section table tbody tfoot thead tr ul"
)
_PARAGRAPHS = words("p h1 h2 h3 h4 h5 h6 table ul ol blockquote")
_EMPTY = words("area base br col embed hr img input link meta param source track wbr")
_RAW = ("script", "style", "title", "textarea", "xml")  # up to their end tag, whatever stands in them
_QUOTE_CLASSES = words(
    "gmail_quote yahoo_quoted moz-cite-prefix protonmail_quote tutanota_quote zmail_extra zmail_quote gmx_quote"
    " cloudmagic-smart-beak wmquote"
)
_QUOTE_IDS = words("isforwardcontent mailcontainerquote orimsghtmlseperator replysplit")
# From here to the end everything is the quoted mail: Outlook on the web and on phones.
_LAST_IDS = words(
    "divrplyfwdmsg appendonsend mail-editor-reference-message-container ms-outlook-mobile-reference-message"
)


@dataclass
class _Open:
    """An element whose end changes how text is written. `nested`: elements of its name inside it."""

    name: str
    hides: bool = False
    quotes: bool = False
    href: str = ""
    nested: int = 0
    began: int = 0  # characters written before


@dataclass
class _Page:
    """Lines as they come to be."""

    pieces: list[str] = field(default_factory=list)  # of the line that is being written
    lines: list[str] = field(default_factory=list)
    open: list[_Open] = field(default_factory=list)
    to_the_end: bool = False
    hidden: int = 0
    quoted: int = 0
    pre: int = 0
    written: int = 0

    def say(self, text: str) -> None:
        if not self.hidden and text:
            self.pieces.append(text)
            self.written += len(text)

    def end_line(self, *, always: bool = False) -> None:
        """Finish a line. A block does so where something stands on it, a <br> always."""
        text = "".join(self.pieces)
        text = text.rstrip() if self.pre else _SPACES.sub(" ", text).replace("\xa0", " ").strip()
        self.pieces.clear()
        if text or always:
            marks = min(self.quoted + self.to_the_end, _MOST_QUOTES)
            self.lines.append(">" * marks + " " * bool(marks) + text)


def to_text(html: str) -> str:
    """What a person would read; "" where nothing is. Characters beyond the limit are not read."""
    page = _Page()
    for is_tag, piece in tokens(html[:LONGEST]):
        if is_tag:
            _tag(page, piece)
        elif not page.hidden:
            _say(page, entities.unescape(piece) if "&" in piece else piece)
    page.end_line()
    text = _BREAKS.sub("\n\n", "\n".join(page.lines)).strip("\n")
    return text if text.strip("> \n") else _without_tags(html[:LONGEST])


def _without_tags(html: str) -> str:
    """Of what hides all that it says: the text between its tags."""
    said = (entities.unescape(piece) for is_tag, piece in tokens(html) if not is_tag)
    return _SPACES.sub(" ", " ".join(said)).strip()


def _say(page: _Page, text: str) -> None:
    if page.pre and "\n" in text:
        first, *others = text.split("\n")
        page.say(first)
        for line in others:
            page.end_line(always=True)
            page.say(line)
    else:
        page.say(text)


def tokens(html: str) -> Iterator[tuple[bool, str]]:
    """(whether it is a tag, the text or what stands between < and >)."""
    at, more_comments, no_end = 0, True, set[str]()
    for _ in range(MOST_TAGS):
        begin = html.find("<", at)
        if begin < 0:
            break
        if begin > at:
            yield False, html[at:begin]
        if html.startswith("<!--", begin) and more_comments:
            end = html.find("-->", begin + 4)
            more_comments = end >= 0
            at = end + 3 if more_comments else begin + 4
            continue
        end = html.find(">", begin)
        if end < 0:
            at = begin
            break
        end = _with_quotes(html, begin, end)
        tag = html[begin + 1 : end]
        found = _NAME.match(tag)
        if not found and tag[:1] not in ("!", "?"):
            yield False, "<"  # a sign of less than
            at = begin + 1
            continue
        at = end + 1
        if found and (name := found[1].lower()) in _RAW and tag[0] != "/" and name not in no_end:
            close = _find_end(html, name, at)
            if close < 0:
                no_end.add(name)
            else:
                at = close
        elif found:
            yield True, tag
    if at < len(html):
        yield False, _ANY_TAG.sub(" ", html[at:])


def _with_quotes(html: str, begin: int, end: int) -> int:
    """The end of a tag, where a > stands within the quotes of an attribute."""
    for _ in range(5):
        if html.count('"', begin, end) % 2 == 0 or end - begin > _LONGEST_TAG:
            return end
        further = html.find(">", end + 1, begin + _LONGEST_TAG)
        if further < 0:
            return end
        end = further
    return end


def _find_end(html: str, name: str, at: int) -> int:
    """Behind the end tag of what holds no tags."""
    found = re.compile(f"</{name}\\s*>", re.IGNORECASE).search(html, at)
    return found.end() if found else -1


def _tag(page: _Page, tag: str) -> None:
    found = _NAME.match(tag)
    name = found[1].lower() if found else ""
    if tag[0] == "/":
        _close(page, name)
        return
    if name == "br":
        page.end_line(always=True)
        return
    if name in _BLOCKS:
        _block(page, name)
        if name == "body":  # a head that never ended ends here
            _close(page, "head")
    elif name in ("td", "th"):
        page.say(" ")
    closed = tag.endswith("/") or name in _EMPTY
    attributes = (
        _attributes(tag) if name not in ("b", "i", "u", "font", "strong", "em", "span") or "display" in tag else {}
    )
    if name == "img":
        page.say(f"[{attributes['alt'].strip()[:200]}]" if attributes.get("alt", "").strip() else "")
    if _last(attributes):
        page.end_line()
        page.to_the_end = True
    if closed:
        return
    for one in page.open:
        one.nested += one.name == name
    opened = _opened(page, name, attributes)
    if opened:
        page.open.append(opened)
    page.pre += name == "pre"


def _block(page: _Page, name: str) -> None:
    page.end_line()
    if name in _PARAGRAPHS and page.lines and page.lines[-1].strip("> "):
        page.end_line(always=True)
    if name == "li":
        page.say("* ")


def _attributes(tag: str) -> dict[str, str]:
    return {
        one[1].lower(): entities.unescape(one[2] or one[3] or one[4] or "")
        for one in _ATTRIBUTE.finditer(tag[:_LONGEST_TAG])
    }


def _last(attributes: dict[str, str]) -> bool:
    return attributes.get("id", "").lower().removeprefix("x_") in _LAST_IDS


def _opened(page: _Page, name: str, attributes: dict[str, str]) -> _Open | None:
    """What has to be remembered until the element ends."""
    if len(page.open) >= _MOST_OPEN:
        return None
    if name == "a" and attributes.get("href", "").lower().startswith(("http://", "https://", "mailto:")):
        return _Open(name, href=attributes["href"].strip()[:2000], began=page.written)
    if HIDDEN.search(attributes.get("style", "")) or name in ("head", "template", "noscript", "svg", "object"):
        page.hidden += 1
        return _Open(name, hides=True)
    classes = {one.removeprefix("x_") for one in attributes.get("class", "").lower().split()}
    quotes = bool(classes & _QUOTE_CLASSES) or attributes.get("id", "").lower() in _QUOTE_IDS
    if quotes or (name == "blockquote" and _cites(attributes)):
        inside_another = any(one.quotes and one.name != "blockquote" for one in page.open)
        if quotes and name == "blockquote" and inside_another:
            return None  # Gmail's blockquote stands within its own container
        page.end_line()
        page.quoted += 1
        return _Open(name, quotes=True)
    return None


def _cites(attributes: dict[str, str]) -> bool:
    """Whether a blockquote quotes a mail. People indent with it as well."""
    return attributes.get("type", "").lower() == "cite" or "border-left" in attributes.get("style", "").lower()


def _close(page: _Page, name: str) -> None:
    if name in _BLOCKS:
        page.end_line()
    page.pre = max(page.pre - (name == "pre"), 0)
    for one in reversed(page.open):
        if one.name != name:
            continue
        if one.nested:
            one.nested -= 1
            continue
        _end_of(page, one)
        page.open.remove(one)
        break


def _end_of(page: _Page, one: _Open) -> None:
    if one.hides:
        page.hidden -= 1
    elif one.quotes:
        page.end_line()
        page.quoted -= 1
    elif one.href:
        shown = "".join(page.pieces)[-(page.written - one.began) :] if page.written > one.began else ""
        address = one.href.removeprefix("mailto:")
        if shown.strip() and shown.strip().rstrip("/") not in (
            address.rstrip("/"),
            one.href,
            address.partition("://")[2].rstrip("/"),
        ):
            page.say(f" <{address}>")
        elif not shown.strip() and not page.written > one.began and not one.href.startswith("mailto:"):
            page.say(f"<{address}>")
