"""The LSP methods and commands that the server knows: a file for each family, a named function for each message.

Three kinds of handlers, all on the event loop's thread. A plain function is done when it returns. A coroutine begins
one turn of the event loop after its message arrived. A function marked `at_arrival` takes a snapshot while its message
is handled, and returns a coroutine function that computes from that snapshot.
"""

from lsprotocol import types

from lsp_server.language_server import MellumServer
from lsp_server.methods import configuration, feedback, inline_completion, lifecycle, status, text_documents, workspace
from lsp_server.reporting.feedback import ACCEPTED, DID_DISMISS, DID_PARTIALLY_ACCEPT, DID_SHOW
from lsp_server.reporting.status import STATUS


def register_all(server: MellumServer) -> None:
    """Register the handlers of all messages; the protocol itself handles `shutdown`, `exit` and `$/cancelRequest`."""
    server.feature(types.INITIALIZE)(lifecycle.initialize)
    server.feature(types.INITIALIZED)(lifecycle.initialized)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(configuration.did_change)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(text_documents.did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(text_documents.did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(text_documents.did_close)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(text_documents.did_save)
    server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)(workspace.did_change_watched_files)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(workspace.did_change_workspace_folders)
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(
        inline_completion.inline_completion
    )
    server.feature(DID_SHOW)(feedback.did_show)
    server.feature(DID_PARTIALLY_ACCEPT)(feedback.did_partially_accept)
    server.feature(DID_DISMISS)(feedback.did_dismiss)
    server.feature(STATUS)(status.status)
    server.command(ACCEPTED)(feedback.accepted)
