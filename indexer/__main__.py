"""The indexer process of one workspace folder: `python -m indexer FOLDER DATABASE`.

It lives as long as its standard input, which tells it of changed files, and says on standard output what it does; both
carry the lines of `sync/messages.py`. `python -m indexer --read FOLDER` is a process of its pool, see `sync/pool.py`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from indexer.sync.messages import Changed, IndexMessage, decoded, encoded
from indexer.sync.pool import serve
from indexer.sync.sync_loop import run
from indexer.sync.watch import Changes
from syntax import tracebacks
from syntax.children import end_children

_NICENESS = 10  # of 19: at 19, a saved file waits for the model to finish
_END_WITHIN = 4.0  # seconds to finish a transaction after the parent has ended


def main(arguments: Sequence[str]) -> None:
    """Run as a process of its own."""
    warnings.simplefilter("ignore")  # dependencies warn at each file
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    tracebacks.install()  # stderr goes to the server's log, where no text of a file belongs
    if arguments[0] == "--read":
        serve(Path(arguments[1]), sys.stdin.buffer, sys.stdout.buffer)
        os._exit(0)  # without a flush: the pipe of the last answer may be closed
    root, database = map(Path, arguments)
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        psutil.Process().nice(_NICENESS)
    changes = Changes()

    def tell(message: IndexMessage) -> None:
        try:
            sys.stdout.buffer.write(encoded(message))
            sys.stdout.buffer.flush()
        except OSError:
            changes.stop()  # the parent has ended

    def listen() -> None:
        for line in sys.stdin.buffer:
            try:
                message = decoded(line)
            except ValueError:
                continue  # the last line of a parent that was killed
            if isinstance(message, Changed):
                changes.add(message.paths, everything=message.everything, check=message.check)
        changes.stop()
        time.sleep(_END_WITHIN)  # for the transaction that may be open; the index is whole at any moment
        _end()

    threading.Thread(target=listen, name="listen", daemon=True).start()
    run(root, database, changes, tell)
    _end()


def _end() -> NoReturn:
    """End at once: the listening thread may hold standard input, for which Python would wait."""
    end_children()
    os._exit(0)


main(sys.argv[1:])
