"""Put a current Emacs (30 or newer, for the terminal) beside a Debian system, without touching it.

python -m tests.editors.emacs_install DIR
"""

from pathlib import Path

from tests.editors import debian

LAUNCHER = """\
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
share=$(echo "$root"/usr/share/emacs/[0-9]*)
programs=$(echo "$root"/usr/libexec/emacs/[0-9]*/*)
export EMACSLOADPATH=$(find "$share/lisp" -type d | tr '\\n' ':')
export EMACSDATA=$share/etc EMACSDOC=$share/etc EMACSPATH=$programs
exec "$root/usr/bin/emacs-nox" --dump-file="$(echo "$programs"/*.pdmp)" "$@"
"""
COMPILER = ("usr/lib/gcc", "usr/libexec/gcc", "usr/include", "usr/share/doc", "usr/share/locale")
"""What Emacs would compile to machine code with, and what takes room."""


def install(directory: Path) -> Path:
    """Install into `directory` unless that is done already, and return the command that starts Emacs."""
    return debian.install("emacs-nox", "usr/bin/emacs-nox", LAUNCHER, directory, [30, 0], without=COMPILER)


if __name__ == "__main__":
    debian.install_from_command_line("Emacs 30 or newer", install)
