"""A stranger's HTML as it may be shown to somebody: text, tables and links. Nothing that runs, is fetched or is sent.

`nh3` decides what is safe. It takes 40 seconds for a million "&", and 14 for 20,000 elements in each other; so the HTML
is written anew before, with few elements open at one time and each attribute that is not needed left out.
"""

from __future__ import annotations

import html as entities
import re
from collections import Counter
from collections.abc import Callable

from dcbridge.mail.html import HIDDEN, tokens, words

LONGEST = 1 << 18  # characters; the HTML of a longer mail is not kept, and its text is
MOST_ENTITIES = 50_000  # nh3's time grows with their square
_MOST_OPEN = 60  # elements in each other

_EMPTY = frozenset(("br", "hr", "img"))
_TAGS = _EMPTY | words(
    "a abbr b big blockquote caption center code col colgroup dd del div dl dt em font h1 h2 h3 h4 h5 h6 i ins li ol p"
    " pre q s small span strike strong sub sup table tbody td tfoot th thead tr tt u ul"
)
_ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
_SCHEMES = {"http", "https", "mailto", "tel"}
_NAME = re.compile(r"(/?)([a-zA-Z][a-zA-Z0-9]{0,20})(?=[\s/>]|\Z)")
_ATTRIBUTE = re.compile(
    r"""[\s"'/](href|src|alt|colspan|rowspan|style|hidden)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?(?=[\s/>]|\Z)""",
    re.IGNORECASE,
)
_LONGEST_TAG = 4000
_MOST_ATTRIBUTES = 20
_SHOWN = "cid:"


def cleaned(html: str, picture: Callable[[str], str] | None = None) -> str:
    """The HTML without what could do harm; "" where it is too large. `picture`: where a picture is that came along, by
    its Content-ID; "" for one that is not there. Without it no picture is left, and nothing is fetched in any case.
    """
    if len(html) > LONGEST or html.count("&") > MOST_ENTITIES:
        return ""
    import nh3  # where no HTML is kept, nothing of it is needed

    def attribute(tag: str, name: str, value: str) -> str | None:
        if (tag, name) != ("img", "src"):
            return value
        return (picture(value) if picture else "") or None

    safe: str = nh3.clean(
        _written_anew(html, picture),
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=attribute,
        url_schemes=_SCHEMES | {"cid"},
        link_rel="noopener noreferrer nofollow",
    )
    return safe.strip()


def _written_anew(html: str, picture: Callable[[str], str] | None) -> str:
    written, counts, deep = list[str](), Counter[str](), 0
    hidden, inside = "", 0  # the element that hides what is in it, and how many of its name are open within
    for is_tag, piece in tokens(html):
        if not is_tag:
            if not hidden:
                written.append(entities.escape(entities.unescape(piece), quote=False))
            continue
        found = _NAME.match(piece)
        if found is None:
            continue
        ends, name = bool(found[1]), found[2].lower()
        if hidden:
            inside += (name == hidden) * (-1 if ends else 1)
            hidden = hidden if inside else ""
        elif name not in _TAGS or (ends and not counts[name]):
            continue
        elif ends:
            counts[name] -= 1
            deep -= 1
            written.append(f"</{name}>")
        else:
            attributes = _attributes(piece)
            if name not in _EMPTY and ("hidden" in attributes or HIDDEN.search(attributes.get("style", ""))):
                hidden, inside = name, 1
            elif name in _EMPTY or deep < _MOST_OPEN:
                counts[name] += name not in _EMPTY
                deep += name not in _EMPTY
                written.append(_tag(name, attributes, picture))
    return "".join(written)


def _attributes(tag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in _ATTRIBUTE.finditer(tag[:_LONGEST_TAG]):
        found.setdefault(one[1].lower(), entities.unescape(one[2] or one[3] or one[4] or ""))
        if len(found) == _MOST_ATTRIBUTES:
            break
    return found


def _tag(name: str, attributes: dict[str, str], picture: Callable[[str], str] | None) -> str:
    wanted = {one: attributes[one] for one in sorted(_ATTRIBUTES.get(name, ())) if attributes.get(one)}
    if name == "img" and (picture is None or not wanted.get("src", "").lower().startswith(_SHOWN)):
        return entities.escape(wanted.get("alt", ""), quote=False)  # what it says stays
    said = "".join(f' {one}="{entities.escape(value)}"' for one, value in wanted.items())
    return f"<{name}{said}>"
