"""Open documents: their text, their edits, and the conversion between LSP positions and offsets in code points.

pygls splits the whole text into lines for each change and each position, and splits at form feeds and other characters
that editors do not count as line ends. In a document of 5 MB and 130,000 lines that takes 22 ms for a change and 26 ms
for a position (52 and 50 ms with an emoji in it). This module takes 0.7 to 2.5 ms for a change (5 to 13 ms with an
emoji, as Python then stores four bytes a character); a position takes 0.02 ms near the last one, else 1 to 3 ms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument, Workspace

from syntax import DocumentId, identify, normalized, path_in, resolved

_LONE_CARRIAGE_RETURN = re.compile(r"\r(?!\n)")
_LINE_END = re.compile(r"\r\n|\n|\r")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Edit:
    """A change as it was applied: what stood from `start` to `end`, in code points, became `text`."""

    start: int
    end: int
    text: str


class Document(TextDocument):
    r"""An open document. Lines end at \n, \r\n and \r, as the protocol says.

    Lines are found by counting line ends from an anchor, the line of the last question: typing stays near it, and
    counting in blocks crosses 5 MB in 3 ms. So there is no index of lines that every keystroke would have to shift.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._text = ""
        self._anchor = 0, 0
        self.last_edit = 0
        """Where the last change ended, in code points: probably the cursor. After a change of the whole text: 0."""
        self.is_out_of_step = False
        """Whether a change failed: the text differs from the client's until the client sends all of it again."""
        self._has_surrogates = False
        self._readable: str | None = None
        self._broken: str | None = None
        self._encoding = str(getattr(self.position_codec.encoding, "value", self.position_codec.encoding))
        self._replace_all(self._source or "")
        self._source = None

    @property
    def source(self) -> str:
        """The text that the client has. Never read from disk."""
        return self._text

    @property
    def lines(self) -> Sequence[str]:
        """All lines with their ends. Slow: not for every keystroke."""
        ends = [match.end() for match in _LINE_END.finditer(self._text)]
        starts = [0, *ends]
        return tuple(self._text[start:end] for start, end in zip(starts, [*ends, len(self._text)], strict=True))

    @property
    def text(self) -> str:
        """The text with every half of a surrogate pair replaced by one code point: what a tokenizer can take."""
        if not self._has_surrogates:
            return self._text
        if self._readable is None:
            self._readable = readable(self._text)
        return self._readable

    def apply_change(  # type: ignore[override]  # pygls' own returns nothing
        self, change: types.TextDocumentContentChangeEvent
    ) -> Edit | None:
        """Apply one change, of a range or of the whole text. A document out of step takes only a whole text.

        Returns what it did, in offsets of the text before it; None where it was not applied.
        """
        if not isinstance(change, types.TextDocumentContentChangePartial):
            edit = Edit(0, len(self._text), change.text)
            self.last_edit = 0
            self._replace_all(change.text)
            self.is_out_of_step = False
            return edit
        if self.is_out_of_step:
            return None
        self.last_edit = 0
        start = self.offset_at_position(change.range.start)
        anchor = self._anchor
        end = max(start, self.offset_at_position(change.range.end))
        text = "".join((self._text[:start], change.text, self._text[end:]))
        # Only an inserted carriage return can become a lone one, because no offset lies inside a \r\n.
        if (
            self._broken is not None
            or self._has_surrogates
            or _has_lone_return(change.text)
            or _has_surrogate(change.text)
        ):
            self._replace_all(text)
        else:
            self._text, self._anchor = (
                text,
                anchor,
            )  # the anchor lies at or before `start`, where the text did not change
        self.last_edit = min(start + len(change.text), len(self._text))
        return Edit(start, end, change.text)

    def offset_at_position(self, client_position: types.Position) -> int:
        """Convert a position in the client's units to an offset in code points.

        A position after a line's end becomes that end; after the last line, the document's end; inside a character, its
        start.
        """
        start = self._line_start(client_position.line)
        if start is None:
            return len(self._text)
        return start + _code_points(
            self._text[start : self._line_end(start)], client_position.character, self._encoding
        )

    def client_position_at_offset(self, offset: int) -> types.Position:
        r"""Convert an offset in code points to a position in the client's units; inside a \r\n, the line's end."""
        offset -= self._text[offset - 1 : offset + 1] == "\r\n"
        text = self._broken_lines
        start = text.rfind("\n", 0, offset) + 1
        line, anchor = self._anchor
        line += text.count("\n", anchor, start) if start >= anchor else -text.count("\n", start, anchor)
        self._anchor = line, start
        return types.Position(line, _units(self._text[start:offset], self._encoding))

    def _replace_all(self, text: str) -> None:
        if _has_surrogate(text):  # an edit may join two halves to one character
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        self._text = text
        self._anchor = 0, 0
        self._has_surrogates = _has_surrogate(text)
        self._readable = None
        # A text with lone carriage returns has a copy of the same length with line feeds instead of them.
        self._broken = _with_line_feeds(text) if _has_lone_return(text) else None

    @property
    def _broken_lines(self) -> str:
        """The text with a line feed at the end of every line."""
        return self._text if self._broken is None else self._broken

    def _line_end(self, start: int) -> int:
        """The offset at which the line that starts at `start` ends, before its line end."""
        text = self._broken_lines
        end = text.find("\n", start)
        if end < 0:
            return len(text)
        return end - 1 if end > start and text[end - 1] == "\r" else end

    def _line_start(self, line: int) -> int | None:
        """The offset at which a line starts, or None where there is no such line. Moves the anchor there."""
        at_line, at = self._anchor
        if line < at_line // 2:
            at_line, at = 0, 0
        if line >= at_line:
            start = _skip_forward(self._broken_lines, at, line - at_line)
        else:
            start = _skip_back(self._broken_lines, at, at_line - line)
        if start is not None:
            self._anchor = line, start
        return start


class Documents(Workspace):
    """pygls' workspace with our own `Document`, by normalized URI, and the identity of each document."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._identities: dict[str, DocumentId] = {}
        self._roots: tuple[Path, ...] | None = None
        self._has_heard_of_folders = False
        super().__init__(*arguments, **options)  # adds the folders

    def add_folder(self, folder: types.WorkspaceFolder) -> None:
        """Take a folder into the workspace."""
        self._folders[normalized(folder.uri)] = folder
        self._folders_changed()

    def remove_folder(self, folder_uri: str) -> None:
        """Take a folder out of the workspace."""
        self._folders.pop(normalized(folder_uri), None)
        self._folders_changed()

    def put_text_document(self, text_document: types.TextDocumentItem, notebook_uri: str | None = None) -> None:
        """Open a document; one that is open is replaced."""
        uri = normalized(text_document.uri)
        self._text_documents[uri] = self._create_text_document(
            uri, text_document.text, text_document.version, text_document.language_id
        )

    def get_text_document(self, doc_uri: str) -> Document:
        """The open document, else an empty one. Never reads from disk."""
        return self.open_document(doc_uri) or self._create_text_document(normalized(doc_uri), "")

    def update_text_document(
        self, text_doc: types.VersionedTextDocumentIdentifier, change: types.TextDocumentContentChangeEvent
    ) -> None:
        """Apply one change to an open document."""
        document = self._text_documents[normalized(text_doc.uri)]
        document.apply_change(change)
        document.version = text_doc.version

    def remove_text_document(self, doc_uri: str) -> None:
        """Close a document."""
        uri = normalized(doc_uri)
        self._text_documents.pop(uri, None)
        self.identify_anew(uri)

    def open_document(self, uri: str) -> Document | None:
        """The document if the client has it open."""
        document = self.text_documents.get(normalized(uri))
        return document if isinstance(document, Document) else None

    def roots(self) -> tuple[Path, ...]:
        """The workspace folders on disk, links resolved; for a client without workspace folders, its root."""
        if self._roots is None:
            uris = list(self._folders)
            if not self._has_heard_of_folders and self.root_uri is not None:
                uris = [self.root_uri]
            found = [resolved(path) for uri in uris if uri.startswith("file:") and (path := path_in(uri)) is not None]
            self._roots = tuple(dict.fromkeys(found))
        return self._roots

    def identity(self, uri: str) -> DocumentId:
        """The identity of a document. Links on its path are resolved once; see `identify_anew`."""
        uri = normalized(uri)
        if uri not in self._identities:
            self._identities[uri] = identify(uri, self.roots())
        return self._identities[uri]

    def identify_anew(self, uri: str) -> None:
        """Resolve the identity of a document again when it is next needed: the document was saved or closed."""
        self._identities.pop(normalized(uri), None)

    def _folders_changed(self) -> None:
        self._has_heard_of_folders = True
        self._roots = None
        self._identities.clear()

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )


def documents_of(server: LanguageServer) -> Documents:
    """The workspace of a server, which `wire.protocol` makes a `Documents`."""
    documents = server.workspace
    assert isinstance(documents, Documents)
    return documents


def readable(text: str) -> str:
    """The text with every half of a surrogate pair replaced by one code point: what a tokenizer can take."""
    return _SURROGATE.sub("\ufffd", text)


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")  # five times as fast as a search
    except UnicodeEncodeError:
        return True
    return False


def _has_lone_return(text: str) -> bool:
    return "\r" in text and _LONE_CARRIAGE_RETURN.search(text) is not None


def _with_line_feeds(text: str) -> str:
    """The text with a line feed for each lone carriage return: 20 times as fast as by a pattern."""
    return "\r\n".join(part.replace("\r", "\n") for part in text.split("\r\n"))


def _skip_forward(text: str, at: int, lines: int) -> int | None:
    """The start of the line `lines` below the one that starts at `at`."""
    while lines:
        found = text.count("\n", at, at + _BLOCK)
        if found >= lines:
            for _ in range(lines):
                at = text.find("\n", at) + 1
            return at
        lines -= found
        at += _BLOCK
        if at >= len(text):
            return None
    return at


def _skip_back(text: str, at: int, lines: int) -> int:
    """The start of the line `lines` above the one that starts at `at`."""
    ends = lines + 1  # line ends to step over, the first one just before `at`; the text's start counts as one
    while at > _BLOCK and (found := text.count("\n", at - _BLOCK, at)) < ends:
        ends -= found
        at -= _BLOCK
    for _ in range(ends):
        at = text.rfind("\n", 0, at)
    return at + 1


def _units(text: str, encoding: str) -> int:
    """The length of a text in units of a position encoding."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _code_points(line: str, units: int, encoding: str) -> int:
    """How many whole code points the first `units` units of a line hold."""
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    if encoding == "utf-8":
        data = line.encode("utf-8", "surrogatepass")
        while units < len(data) and data[units] & 0xC0 == 0x80:
            units -= 1
        return len(data[:units].decode("utf-8", "surrogatepass"))
    data = line.encode("utf-16-le", "surrogatepass")
    before = data[: 2 * units].decode("utf-16-le", "surrogatepass")
    # half of a pair decodes to a surrogate, and the line has a whole character there
    return len(before) - (before != line[: len(before)])
