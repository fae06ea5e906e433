"""Put a current Neovim (0.12 or newer, with built-in inline completion) beside a Debian system, without touching it.

python -m tests.editors.neovim_install DIR
"""

import argparse
import sys
from pathlib import Path

from tests.editors import debian
from tests.editors.debian import CannotInstallError

LAUNCHER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
VIMRUNTIME="$here/../usr/share/nvim/runtime" exec "$here/../usr/bin/nvim" "$@"
"""


def install(directory: Path) -> Path:
    """Install into `directory` unless that is done already, and return the command that starts Neovim."""
    return debian.install("neovim", "usr/bin/nvim", LAUNCHER, directory, [0, 12])


def main() -> None:
    """Install into the folder named on the command line, and print the command that starts Neovim."""
    parser = argparse.ArgumentParser(description="Install Neovim 0.12 or newer into DIR, beside a Debian system.")
    parser.add_argument("directory", metavar="DIR", type=Path)
    try:
        print(install(parser.parse_args().directory))
    except CannotInstallError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
