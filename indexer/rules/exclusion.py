"""Which files of a workspace are left out: ignored and vendored ones, links, and files that are no code.

Decided by name alone; `files/text.py` judges what a file contains. Every refusal is a sentence, for `index why`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection
from pathlib import Path

from indexer.rules.consulted import Consulted
from indexer.rules.ignore_files import FOR_AI, IGNORE_FILES, Ignored, shown, slashed
from indexer.secrets import secret_name

_MACHINERY = frozenset({".git", ".hg", ".svn", ".jj", "__pycache__", ".tox", ".nox", ".gradle", ".idea", ".vs"})
_VENDORED = frozenset({"node_modules", "bower_components", "jspm_packages", "vendor", "_vendor", "third_party", "Pods"})
_MARKERS = {"pyvenv.cfg": "a virtual environment", "CACHEDIR.TAG": "a cache folder"}
TELLING_FILES = frozenset({*IGNORE_FILES, *_MARKERS, ".git"})
"""When one of these appears, changes or goes, other files may have to be read or left out."""
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


class Rules:
    """The rules of one workspace folder. An ignore file is read once, with the first question about its folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._above = slashed(self.root)
        self._consulted = Consulted(self._is_told)
        self._ignored = Ignored(self.root, self._consulted)

    def why_not_folder(self, path: str) -> str | None:
        """Why a folder is not listed; None if it is. `path` is relative, with forward slashes."""
        name = path.rpartition("/")[2]
        if name in _MACHINERY:
            return f"{name} holds no code of yours"
        if name in _VENDORED:
            return f"{name} holds other people's code"
        return self._ignored.why_not(path, is_folder=True)

    def why_not_inside(self, path: str, files: Collection[str]) -> str | None:
        """Why nothing in a folder is read, by the names of the files in it; None if it is.

        Whatever is called `.aiignore` counts as a file. Its ignore files are read now, so that the disk is not asked
        for each of them.
        """
        if path and (marker := next((name for name in _MARKERS if name in files), None)) is not None:
            return f"{shown(path)} is {_MARKERS[marker]} (it has a {marker})"
        return self._ignored.why_not_inside(path, files)

    def why_not_file(self, path: str) -> str | None:
        """Why a file is not read, by its name; None if it is read."""
        name = path.rpartition("/")[2]
        if (reason := secret_name(self._above + path)) is not None:
            return reason
        suffix = posixpath.splitext(name)[1].lower()
        if name not in _NAMED_CODE and (kind := _KINDS.get(suffix, "" if suffix else "is not code")):
            return f"{suffix or 'a file without a suffix'} {kind}"
        if _MINIFIED.search(name):
            return "it is minified, by its name"
        if _GENERATED.search(name):
            return "it is generated, by its name"
        return self._ignored.why_not(path, is_folder=False)

    def why_not(self, path: str) -> str | None:
        """Why a file is not read, by its name and by all folders above it."""
        path = posixpath.normpath(path)
        if path.startswith(("../", "/")) or path == "..":
            return f"it lies outside of {self.root}"
        if path == ".":
            return "it is a folder; name a file in it"
        if "\0" in path:
            return "its name has a NUL, which no file has"
        parts = path.split("/")
        for end in range(len(parts)):
            folder = "/".join(parts[:end])
            reason = (link_reason(self.root / folder, self.root) or self.why_not_folder(folder)) if folder else None
            if reason is not None or (reason := self.why_not_inside(folder, self._telling(folder))) is not None:
                return reason
        return link_reason(self.root / path, self.root) or self.why_not_file(path)

    def why_ignored(self, path: str, *, for_ai: bool = False) -> str | None:
        """Which line of an ignore file names a file or a folder above it, whatever kind of file it is.

        None if no line does. With `for_ai`, only `.aiignore` is asked.
        """
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            is_folder = end < len(parts)
            if (reason := self._ignored.why_not("/".join(parts[:end]), is_folder=is_folder, for_ai=for_ai)) is not None:
                return reason
        return None

    def has_changed(self, *, outside: bool = False, most: int | None = None) -> bool:
        """Whether a file that was asked for rules has appeared, changed or gone; `outside`: one of `ignore_sources`.

        The system is asked for the state of each, some microseconds a file; none is read. Where there are more than
        `most`, one is taken to have changed.
        """
        return self._consulted.has_changed(untold=outside, most=most)

    def ignore_sources(self) -> frozenset[Path]:
        """Files that rules come from, or would, and whose change a watcher of the folder does not tell.

        They lie outside of it or in git's own folders.
        """
        return frozenset(map(Path, self._consulted.untold()))

    def _is_told(self, file: str) -> bool:
        """Whether a watcher of the folder reports a file's change, so that `folder.py` scans all files."""
        if not file.startswith(self._above):
            return False
        *folders, name = file.removeprefix(self._above).split("/")
        return ".git" not in folders and name in TELLING_FILES and (name != ".git" or bool(folders))

    def _telling(self, folder: str) -> list[str]:
        """The files of a folder that tell its kind, or its ignored files."""
        above = slashed(self.root / folder)
        has = {FOR_AI: self._consulted.has_entry}
        names = (*_MARKERS, *IGNORE_FILES)
        return [name for name in names if has.get(name, self._consulted.has_file)(f"{above}{name}")]


def link_reason(file: Path, root: Path) -> str | None:
    """Why a symbolic link is not followed; None for anything else. `root` must be resolved."""
    if not os.path.islink(file):  # noqa: PTH114 - Path.is_symlink raises where a name is too long
        return None
    try:
        target = file.resolve(strict=True)
    except (OSError, RuntimeError):
        return "it is a link that leads nowhere"
    if target.is_relative_to(root):
        return f"it is a link to {shown(target.relative_to(root).as_posix())}, which is read itself"
    return "it is a link that leaves the workspace"
