"""Elements of HTML and XML: generated text closes what is open innermost, or nothing."""

from __future__ import annotations

import re

_LANGUAGES = frozenset({"html", "xml", "vue", "svelte"})
_LOOK = 16_000  # code points before the cursor that are looked at
_DEEPEST = 100  # elements that one tag may end
_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<(?P<closes>/?)(?P<name>[A-Za-z][\w:.-]{0,100})(?![\w:.-])[^<>]{0,2000}>", re.DOTALL
)
_NO_TAGS_IN = frozenset({"script", "style", "textarea", "title"})
_EMPTY = frozenset(
    "area base br col embed hr img input link meta param source track wbr".split()  # noqa: SIM905 - read as prose
)
_CLOSED_BY_OTHERS = frozenset(
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup rt rp body html head".split()  # noqa: SIM905
)


def without_wrong_closing_tags(text: str, prefix: str, language: str) -> str:
    """End before a closing tag of what is not open innermost; elements of HTML that need no such tag may be left open.

    What was opened further up than is looked at may be closed.
    """
    if language not in _LANGUAGES or "</" not in text:
        return text
    above, is_xml = prefix[-_LOOK:], language == "xml"
    whole, opened, position = above + text, list[str](), 0
    while (tag := _TAG.search(whole, position)) is not None:
        name, position = tag["name"], tag.end()
        if name is None or tag[0].endswith("/>"):
            continue
        name = name if is_xml else name.lower()
        if not tag["closes"]:
            if is_xml or name not in _EMPTY:
                opened.append(name)
            if name in _NO_TAGS_IN and not is_xml:
                end = whole.find(f"</{name}", position)
                position = end if end >= 0 else len(whole)
        elif (depth := _depth(opened, name, is_xml=is_xml)) is not None:
            del opened[depth:]
        elif tag.end() > len(above) and (opened or len(prefix) <= _LOOK):
            return text[: max(tag.start() - len(above), 0)]
    return text


def _depth(opened: list[str], name: str, *, is_xml: bool) -> int | None:
    """Where the element lies that a tag closes; None where it would leave something else open."""
    for depth in range(len(opened) - 1, max(len(opened) - _DEEPEST, 0) - 1, -1):
        if opened[depth] == name:
            return depth
        if is_xml or opened[depth] not in _CLOSED_BY_OTHERS:
            return None
    return None
