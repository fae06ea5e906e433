"""From a workspace to ranked snippets. Knows no LSP and no model.

Names are imported on first use, so that the processes which read with grammars load nothing else.
"""

# The current folder is not trusted, and `python -m` looks for modules there first; some dependencies look for programs.
# So these lines take it out of both search paths before any other import, unless Python or this package lies in it.
# Each package that `python -m` starts has these lines: importing them would search the current folder. Python itself
# has imported the modules that they need.
import os
import site
import sys

_programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(entry for entry in _programs if os.path.isabs(entry))
_relative = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(entry)]
_library = os.path.dirname(os.__file__)
_trusted = (
    f"{__path__[0]}/..",
    _library,
    f"{_library}/lib-dynload",
    *site.getsitepackages(),
    site.getusersitepackages(),
)
try:
    _strange = {*map(os.path.realpath, ("", *_relative))} - {*map(os.path.realpath, _trusted)}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _strange]
except OSError:  # the current folder was removed: nothing can be imported from it
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry)]

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from indexer.admission import Admission, why_not_root
    from indexer.files.disk import read_regular
    from indexer.index import Index
    from indexer.retrieval.nearby_files import Neighbour
    from indexer.retrieval.pack import Snippet
    from indexer.secrets.texts import secrets_in
    from indexer.store.connection import counts_of, database_of
    from indexer.sync.folder import note_on, why_not
    from indexer.sync.messages import FilesRead, IndexMessage, Problem, Resting, UpToDate, WaitingInLine
    from indexer.sync.sync_loop import index_now
    from indexer.workspace_texts import texts_of

_WHERE = {
    "Admission": "admission",
    "FilesRead": "sync.messages",
    "Index": "index",
    "IndexMessage": "sync.messages",
    "Neighbour": "retrieval.nearby_files",
    "Problem": "sync.messages",
    "Resting": "sync.messages",
    "Snippet": "retrieval.pack",
    "UpToDate": "sync.messages",
    "WaitingInLine": "sync.messages",
    "counts_of": "store.connection",
    "database_of": "store.connection",
    "index_now": "sync.sync_loop",
    "note_on": "sync.folder",
    "read_regular": "files.disk",
    "secrets_in": "secrets.texts",
    "texts_of": "workspace_texts",
    "why_not": "sync.folder",
    "why_not_root": "admission",
}

__all__ = [
    "Admission",
    "FilesRead",
    "Index",
    "IndexMessage",
    "Neighbour",
    "Problem",
    "Resting",
    "Snippet",
    "UpToDate",
    "WaitingInLine",
    "counts_of",
    "database_of",
    "index_now",
    "note_on",
    "read_regular",
    "secrets_in",
    "texts_of",
    "why_not",
    "why_not_root",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"indexer.{_WHERE[name]}"), name)
