"""Put a current Neovim (0.12 or newer, with built-in inline completion) beside a Debian system, without touching it.

python -m tests.editors.neovim_install DIR
"""

from pathlib import Path

from tests.editors import debian

LAUNCHER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
VIMRUNTIME="$here/../usr/share/nvim/runtime" exec "$here/../usr/bin/nvim" "$@"
"""


def install(directory: Path) -> Path:
    """Install into `directory` unless that is done already, and return the command that starts Neovim."""
    return debian.install("neovim", "usr/bin/nvim", LAUNCHER, directory, [0, 12])


if __name__ == "__main__":
    debian.install_from_command_line("Neovim 0.12 or newer", install)
