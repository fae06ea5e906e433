"""The index's worker as a process: `python -m indexer FOLDER DATABASE`.

It lives as long as its standard input, on which it is told of changed files, and says on standard output, as lines of
JSON, what it does. `python -m indexer --read FOLDER` is a process that helps it, see `sync/pool.py`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from indexer.sync.pool import serve
from indexer.sync.sync_loop import run
from indexer.sync.watch import Changes
from syntax import tracebacks

_NICENESS = 10  # of 19: at 19, a saved file waits for the model to finish
_END_WITHIN = 4.0  # seconds to finish a transaction, when the parent has gone


def main(arguments: Sequence[str]) -> None:
    """Run as a process of its own."""
    warnings.simplefilter("ignore")  # what dependencies warn of at each file
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    tracebacks.install()  # its stderr is the server's, where no text of a file belongs
    if arguments[0] == "--read":
        serve(Path(arguments[1]), sys.stdin.buffer, sys.stdout.buffer)
        os._exit(0)  # whoever asked may be gone, and with it where the last answer was written to
    root, database = map(Path, arguments)
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        psutil.Process().nice(_NICENESS)
    changes = Changes()

    def tell(message: dict[str, Any]) -> None:
        try:
            print(json.dumps(message), flush=True)
        except OSError:
            changes.stop()  # nobody is there any more

    def listen() -> None:
        for line in sys.stdin:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # the last line of a parent that was killed
            changes.add(message.get("changed", ()))
            if message.get("everything"):
                changes.add_everything()
            if message.get("check"):
                changes.add_check()
        changes.stop()
        time.sleep(_END_WITHIN)  # whatever it is in the middle of; an index is whole at any moment
        os._exit(0)

    threading.Thread(target=listen, name="listen", daemon=True).start()
    run(root, database, changes, tell)
    sys.stdout.flush()
    os._exit(0)  # the listening thread may hold standard input, on which Python would wait


main(sys.argv[1:])
