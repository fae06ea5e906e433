"""The settings, read from `initializationOptions`, `workspace/didChangeConfiguration` or `workspace/configuration`.

For a wrong or unknown key the default is used, and a sentence names the key to the user.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NewType, get_type_hints

import cattrs

SECTION = "mellum"
TOKEN = "token"
"""A key that `serve --tcp` reads before there is a session. It is no setting, and is never shown."""

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "directml", "coreml", "openvino"]
"""The same as the engine's type: importing the engine would take most of a second."""

Eagerness = Literal["quiet", "balanced", "eager", "always"]

CONFIDENCES: Mapping[Eagerness, float] = {"quiet": 0.8, "balanced": 0.6, "eager": 0.45, "always": 0.0}
"""By eagerness: the probability that a suggestion has to keep. Where a wrong suggestion costs as much as typing 30, 10
to 20, or 5 characters, these bring most: `python -m training.fitting.eagerness`."""

Surroundings = Literal["comment", "string"]
"""What may surround the cursor, besides code."""
Minutes = NewType("Minutes", float)


@dataclass(frozen=True, slots=True)
class RemoteChoice:
    """A server that the user's settings name."""

    url: str
    model: str | None


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model is loaded, and how it runs."""

    model: str | None
    provider: Provider
    threads: int | None
    context_tokens: int | None
    state_memory: int | None
    remote: RemoteChoice | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Editors write the names in camel case, such as `disabledLanguages`.

    What belongs together has a point in its name, `remote.url`, and may come as an object: `{"remote": {"url": ...}}`.
    """

    enabled: bool = True
    """Whether there are suggestions at all; false stops all inference, and lets the model go: its memory is free."""
    disabled_languages: tuple[str, ...] = ()
    """LSP language ids without suggestions."""
    disabled_in: tuple[Surroundings, ...] = ()
    """`comment`, `string`: nothing is suggested there while you type. A suggestion asked for by a key is always shown;
    code inside an f-string or a template is code, a doc string is a string."""
    model: str | None = None
    """A model's name, or the whole path of its folder, which must lie outside of the workspace: LSP does not tell your
    settings from a workspace's. `mellum-lsp models use FOLDER` takes any. Null for the chosen model."""
    provider: Provider = "auto"
    """What the model runs on; auto: CUDA for a model that was exported for it, where CUDA works, else the CPU."""
    threads: int | None = None
    """Threads to compute with; null for what `mellum-lsp setup`, `export` or `doctor` measured as the fewest that are
    nearly as fast as any, and until then for all of two cores, half of more. Never more than the machine has."""
    context_tokens: int | None = None
    """Longest prompt; null for 768 tokens, fewer where this machine takes longer than 4 seconds of idle time for them,
    more where it reads more in 0.4 seconds. The first prompt at a new place is what it reads in 0.4 seconds."""
    max_tokens: int = 96
    """Longest suggestion, in tokens."""
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    """How much to log on stderr; null for what the environment's MELLUM_LSP_LOG says, else warnings."""
    eagerness: Eagerness = "balanced"
    """How sure a suggestion has to be: it ends at the word with which the probability that all of it is right would
    fall below 0.8 (`quiet`), 0.6 (`balanced`) or 0.45 (`eager`), as the model states it; `always` shows everything. A
    suggestion asked for by a key is always shown."""
    eagerness_by_language: Mapping[str, Eagerness] = field(default_factory=dict)
    """`eagerness` for some LSP language ids: `{"markdown": "quiet"}`."""
    learn_gate: bool = True
    """Whether these probabilities are measured by what you accept: where the model is less often right than it says,
    suggestions have to be surer, and the other way round; see `mellum-lsp stats --gate`."""
    deadline: int = 400
    """Milliseconds after which the part of a suggestion that is ready is shown; the rest follows when you pause. Less
    than an expression is not shown: then it takes longer. 0 waits for all of it."""
    state_memory: int | None = None
    """Megabytes for what the model has read, so that a cursor that jumps back to a place waits for nothing; null for a
    quarter of the memory that the process may use."""
    unload_after: Minutes = Minutes(30.0)
    """Minutes without typing after which the model leaves the memory; the next request brings it back, and stays empty
    itself. 0 keeps the model."""
    index_workspace: bool = True
    """Whether files that are not open may be shown to the model; false: open documents only."""
    statistics: bool = True
    """Whether it is written down on this machine what became of suggestions, in numbers and without any code, for
    `mellum-lsp stats` and for `learnGate`; false writes nothing."""
    collect_samples: bool = False
    """Whether the code around suggestions, the suggestions, and what you wrote there are kept as well, up to 100 MB, on
    this machine, for `python -m training.feedback`. Nothing is kept of code with secrets, nor of any file while
    `completeIgnoredFiles` is true. `mellum-lsp stats --purge` removes it."""
    complete_ignored_files: bool = False
    """Whether there are suggestions inside files that `.gitignore` or `.aiignore` names, or that are named like
    secrets. They help no other file all the same."""

    remote_url: str | None = None
    """The address of an OpenAI-compatible completions server, such as `https://gpu.example:8000`, whose model suggests
    as well. Code is sent there. Used once you have run `mellum-lsp remote allow URL`: LSP does not tell your settings
    from a workspace's. See docs/remote.md."""
    remote_model: str | None = None
    """The model's name at that server; null for the only one that it serves."""

    @property
    def model_choice(self) -> ModelChoice:
        """The settings whose change loads the model again."""
        # what is ignored stays here: some clients let a workspace switch `completeIgnoredFiles` on
        url = self.remote_url if not self.complete_ignored_files else None
        remote = RemoteChoice(url, self.remote_model) if url else None
        return ModelChoice(
            self.model or None, self.provider, self.threads, self.context_tokens, self.state_memory, remote
        )

    @property
    def collects(self) -> bool:
        """Whether samples with code are collected: of ignored files, never."""
        return self.statistics and self.collect_samples and not self.complete_ignored_files

    def confidence_in(self, language: str) -> float:
        """How sure a suggestion in this language has to be: see `CONFIDENCES`."""
        return CONFIDENCES[self.eagerness_by_language.get(language, self.eagerness)]


_AT_LEAST = {"threads": 1, "context_tokens": 64, "max_tokens": 1, "deadline": 0, "state_memory": 1, "unload_after": 0}
_MOST = 1 << 53  # as large as a whole number is in most clients, and one that a float holds
_LONGEST_NAME = 60
_GROUPS = ("remote",)
_MOST_COMPLAINTS = 20


def read_settings(raw: object) -> tuple[Settings, list[str]]:
    """Read settings from JSON; returns them with one sentence for each key that could not be used."""
    if raw is None:
        return Settings(), []
    if not isinstance(raw, Mapping):
        return Settings(), [f"The settings of {SECTION} must be an object, not {_json_name(raw)}."]
    complaints: list[str] = []
    fields = {json_name(field.name): field.name for field in dataclasses.fields(Settings)}
    types_by_name = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for key, value in _flattened(raw).items():
        if key == TOKEN:
            continue
        name = fields.get(str(key))
        if name is None:
            complaints.append(f"Unknown setting {SECTION}.{key:.{_LONGEST_NAME}}. There are: {', '.join(fields)}.")
            continue
        try:
            structured = _converter.structure(value, types_by_name[name])
            if isinstance(structured, int | float) and structured < _AT_LEAST.get(name, structured):
                raise ValueError(f"must be at least {_AT_LEAST[name]}, not {value!r}")
            if isinstance(structured, int) and structured > _MOST and name != "threads":
                raise ValueError(f"must be at most {_MOST:,}")
        except Exception as error:  # cattrs raises groups of the errors of its hooks
            complaints.append(f"Setting {SECTION}.{key} {_reason(error)}; its default is used.")
            continue
        if name == "threads" and structured is not None and structured > (cores := _cores()):
            complaints.append(
                f"Setting {SECTION}.threads is {structured:,}, and this machine has {cores} cores; {cores} are used."
            )
            structured = cores
        values[name] = structured
    if len(complaints) > _MOST_COMPLAINTS:
        more = len(complaints) - _MOST_COMPLAINTS
        complaints[_MOST_COMPLAINTS:] = [f"{more:,} more settings of {SECTION} are wrong."]
    return Settings(**values), complaints


def without_wishes_of(roots: Iterable[Path], settings: Settings) -> tuple[Settings, list[str]]:
    """Remove a model that lies in the workspace; returns a sentence for a removed setting.

    LSP does not separate the user's settings from the workspace's, and some clients merge them: a workspace could bring
    a model of its own.
    """
    model = settings.model
    if model is None or not any(separator in model for separator in ("/", "\\", ":")):
        return settings, []
    try:
        folder = Path(model).expanduser()
        resolved_roots = [root.resolve() for root in roots]
        is_inside = folder.is_absolute() and any(folder.resolve().is_relative_to(root) for root in resolved_roots)
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # `~name` of an unknown user: the search for the model reports it
        return settings, []
    if not folder.is_absolute():
        problem = "must be a model's name or its folder's whole path"
    elif is_inside:
        problem = "names a folder of the workspace, which is not trusted; to use it, run: mellum-lsp models use FOLDER"
    elif folder.drive.startswith("\\\\"):
        problem = "names a folder on another machine; copy the model to this one"
    else:
        return settings, []
    return dataclasses.replace(settings, model=None), [f"Setting {SECTION}.model {problem}; its default is used."]


def merged(base: object, over: object) -> object:
    """Override settings by others, key by key. A value that is no object stays, so that `read_settings` reports it."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**_flattened(base), **_flattened(over)}
    return base if over is None else over


def section_of(raw: object) -> object:
    """The settings in a value that holds them directly or under the section's name."""
    if isinstance(raw, Mapping) and SECTION in raw:
        return raw[SECTION]
    return raw


def _cores() -> int:
    """The number of processors that this process may use: with more threads, each would wait for others."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def json_name(field: str) -> str:
    """The name that editors write for a field of `Settings`."""
    group, _, rest = field.partition("_")
    if group in _GROUPS:
        return f"{group}.{json_name(rest)}"
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


def _flattened(raw: Mapping[object, Any]) -> dict[object, Any]:
    """The settings with those of a group by their whole names. A group that is no object stays, and is reported."""
    flat: dict[object, Any] = {}
    for key, value in raw.items():
        if key in _GROUPS and isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            flat[key] = value
    return flat


def _json_name(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    return str(error)


def _strict(expected: type, name: str) -> typing.Callable[[Any, Any], Any]:
    """Accept one type only: cattrs would convert "false" to True and 1.9 to 1."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not expected:
            raise ValueError(f"must be {name}, not {_json_name(value)}")
        return value

    return structure


def _list_of(value: Any, expected: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of strings")
    return tuple(_converter.structure(item, typing.get_args(expected)[0]) for item in value)


def _minutes(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"must be a number, not {value!r:.40}")
    return float(value)


def _by_language(value: Any, expected: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(language, str) for language in value):
        raise ValueError(f"must be an object of language ids, not {_json_name(value)}")
    return {language: _converter.structure(part, typing.get_args(expected)[1]) for language, part in value.items()}


def _one_of(value: Any, expected: Any) -> Any:
    if value not in typing.get_args(expected):
        raise ValueError(f"must be one of {', '.join(typing.get_args(expected))}, not {value!r:.40}")
    return value


def _optional(value: Any, expected: Any) -> Any:
    inner = next(part for part in typing.get_args(expected) if part is not types.NoneType)
    return None if value is None else _converter.structure(value, inner)


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint)


_converter = cattrs.Converter()
_converter.register_structure_hook(bool, _strict(bool, "true or false"))
_converter.register_structure_hook(int, _strict(int, "a whole number"))
_converter.register_structure_hook(str, _strict(str, "a string"))
_converter.register_structure_hook(Minutes, _minutes)
_converter.register_structure_hook_func(lambda hint: _origin(hint) is Mapping, _by_language)
_converter.register_structure_hook_func(lambda hint: _origin(hint) is tuple, _list_of)
_converter.register_structure_hook_func(lambda hint: _origin(hint) is Literal, _one_of)
_converter.register_structure_hook_func(lambda hint: _origin(hint) in (typing.Union, types.UnionType), _optional)
