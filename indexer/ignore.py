"""Which files of a workspace are nobody's business: ignored ones, vendored ones, links, and what is not code.

Decided by name alone; `reading.py` judges what a file contains. Every refusal is a sentence, for `index why`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from indexer.secrets import secret_name

IGNORE_FILES = (".gitignore", ".ignore", ".aiignore")
"""In the order of their weight within one folder."""
_MACHINERY = frozenset({".git", ".hg", ".svn", ".jj", "__pycache__", ".tox", ".nox", ".gradle", ".idea", ".vs"})
_VENDORED = frozenset({"node_modules", "bower_components", "jspm_packages", "vendor", "_vendor", "third_party", "Pods"})
_MARKERS = {"pyvenv.cfg": "a virtual environment", "CACHEDIR.TAG": "a cache folder"}
_NO_CODE = """
.txt .md .markdown .rst .adoc .csv .tsv .log .lock .svg .xml .plist .map .po .pot .srt .ipynb .patch .diff .tex .bib
.rtf .sum .snap .dat .data .golden .expected .ini .cfg .properties .typed .url
"""
_BINARY = """
.png .jpg .jpeg .gif .bmp .ico .webp .tiff .pdf .zip .gz .bz2 .xz .zst .tar .tgz .7z .rar .jar .war .class .pyc .pyo
.pyd .so .a .o .obj .lib .dll .dylib .exe .bin .wasm .onnx .pt .pth .safetensors .gguf .npy .npz .pkl .parquet .mp3 .mp4
.wav .ogg .flac .mov .avi .ttf .otf .woff .woff2 .eot .db .sqlite .sqlite3 .whl .egg .deb .rpm .iso .dmg .doc .docx .xls
.xlsx .ppt .pptx .mo .nib .psd .swp
"""
_KINDS = dict.fromkeys(_NO_CODE.split(), "is not code") | dict.fromkeys(_BINARY.split(), "is not text")
_NAMED_CODE = frozenset(
    {"Makefile", "Dockerfile", "Rakefile", "Gemfile", "Jenkinsfile", "Vagrantfile", "CMakeLists.txt"}
)
_MINIFIED = re.compile(r"[.-]min\.(?:js|mjs|css)$|\.bundle\.js$", re.IGNORECASE)
_GENERATED = re.compile(
    r"(?:_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h)|\.g\.cs|\.designer\.cs|(?:package-lock|npm-shrinkwrap)\.json"
    r"|pnpm-lock\.yaml|composer\.lock)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _IgnoreFile:
    """The rules of one file, for what lies in its folder."""

    name: str
    """As it is shown to the user."""
    spec: GitIgnoreSpec
    lines: tuple[str, ...]

    def verdict(self, path: str) -> tuple[bool, str] | None:
        """Whether a path relative to the folder is ignored, and why; None where no line speaks of it."""
        found = self.spec.check_file(path)
        if found.include is None or found.index is None:
            return None
        return found.include, f"ignored by {self.name}, line {found.index + 1}: {self.lines[found.index]}"


class Rules:
    """The rules of one workspace folder. Ignore files are read once, when their folder is first asked about."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._spoken: dict[str, tuple[list[tuple[_IgnoreFile, int]], ...]] = {}
        self._global = tuple(_global_excludes(root))

    def why_not_folder(self, path: str) -> str | None:
        """Why a folder is not listed; None if it is. `path` is relative, with forward slashes."""
        name = path.rpartition("/")[2]
        if name in _MACHINERY:
            return f"{name} holds no code of yours"
        if name in _VENDORED:
            return f"{name} holds other people's code"
        return self._ignored(f"{path}/")

    def why_not_inside(self, path: str, files: Collection[str]) -> str | None:
        """Why nothing in a folder is read, by the names of the files in it; None if it is.

        Its ignore files are read now, so that the disk is not asked for each of them.
        """
        if path and (marker := next((name for name in _MARKERS if name in files), None)) is not None:
            return f"{path} is {_MARKERS[marker]} (it has a {marker})"
        if path not in self._spoken:
            self._read_ignore_files(path, files)
        return None

    def why_not_file(self, path: str) -> str | None:
        """Why a file is not read, by its name; None if it is read."""
        name = path.rpartition("/")[2]
        if (reason := secret_name(name)) is not None:
            return reason
        suffix = posixpath.splitext(name)[1].lower()
        if name not in _NAMED_CODE and (kind := _KINDS.get(suffix, "" if suffix else "is not code")):
            return f"{suffix or 'a file without a suffix'} {kind}"
        if _MINIFIED.search(name):
            return "it is minified, by its name"
        if _GENERATED.search(name):
            return "it is generated, by its name"
        return self._ignored(path)

    def why_not(self, path: str) -> str | None:
        """Why a file is not read, by its name and by all folders above it."""
        parts = path.split("/")
        for end in range(1, len(parts)):
            folder = "/".join(parts[:end])
            reason = link_reason(self.root / folder, self.root) or self.why_not_folder(folder)
            if reason is not None or (reason := self.why_not_inside(folder, self._telling(folder))) is not None:
                return reason
        return link_reason(self.root / path, self.root) or self.why_not_file(path)

    def why_ignored(self, path: str, *, for_ai: bool = False) -> str | None:
        """Which line of an ignore file names a file or a folder above it, whatever kind of file it is.

        None if no line does. With `for_ai`, only `.aiignore` is asked.
        """
        ends = [at + 1 for at, character in enumerate(path) if character == "/"]
        reasons = (self._ignored(path[:end], for_ai=for_ai) for end in (*ends, len(path)))
        return next((reason for reason in reasons if reason is not None), None)

    def _ignored(self, path: str, *, for_ai: bool = False) -> str | None:
        """What the ignore files say. The deepest one wins; only `.aiignore` cannot be overruled by others."""
        speaking_there = self._speaking(path.rstrip("/").rpartition("/")[0])
        for speaking in speaking_there[:1] if for_ai else speaking_there:
            for file, folder in speaking:
                verdict = file.verdict(path[folder:])
                if verdict is not None:
                    if verdict[0]:
                        return verdict[1]
                    break
        return None

    def _speaking(self, folder: str) -> tuple[list[tuple[_IgnoreFile, int]], ...]:
        """Ignore files that may speak of what lies in a folder, the strongest first, `.aiignore` apart from the others.

        With each, where a path begins as it is seen from there.
        """
        if folder not in self._spoken:
            self._read_ignore_files(folder, self._telling(folder))
        return self._spoken[folder]

    def _telling(self, folder: str) -> list[str]:
        """The files of a folder that say what it is, or what is ignored in it."""
        return [name for name in (*_MARKERS, *IGNORE_FILES) if (self.root / folder / name).is_file()]

    def _read_ignore_files(self, folder: str, files: Collection[str]) -> None:
        outer = self._speaking(folder.rpartition("/")[0]) if folder else ([], [(one, 0) for one in self._global])
        begins = len(folder) + 1 if folder else 0
        own = {
            name: [(file, begins)]
            for name in IGNORE_FILES
            if name in files and (file := _read(self.root / folder / name, f"{folder}/{name}".lstrip("/"))) is not None
        }
        for_ai, ignored, by_git = (own.get(name, []) for name in reversed(IGNORE_FILES))
        self._spoken[folder] = (for_ai + outer[0], ignored + by_git + outer[1])


def link_reason(file: Path, root: Path) -> str | None:
    """Why a symbolic link is not followed; None for what is none. `root` must be resolved."""
    if not file.is_symlink():
        return None
    try:
        target = file.resolve(strict=True)
    except (OSError, RuntimeError):
        return "it is a link that leads nowhere"
    if target.is_relative_to(root):
        return f"it is a link to {target.relative_to(root).as_posix()}, which is read itself"
    return "it is a link that leaves the workspace"


def _read(file: Path, name: str) -> _IgnoreFile | None:
    try:
        lines = tuple(file.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return None
    # pathspec drops empty lines and would count wrong
    return _IgnoreFile(name, GitIgnoreSpec.from_lines([line if line.strip() else "#" for line in lines]), lines)


def _global_excludes(root: Path) -> Iterator[_IgnoreFile]:
    """Git's excludes for this repository alone and for all repositories of the user."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "git"
    files = [root / ".git" / "info" / "exclude", configuration / "ignore"]
    for settings in (configuration / "config", Path("~/.gitconfig").expanduser()):
        try:
            found = re.findall(
                r"(?mi)^\s*excludesfile\s*=\s*\"?([^\"\n]+?)\"?\s*$", settings.read_text(encoding="utf-8")
            )
        except (OSError, UnicodeDecodeError):
            continue
        files += [Path(name).expanduser() for name in found]
    for file in files:
        if (rules := _read(file, str(file))) is not None:
            yield rules
