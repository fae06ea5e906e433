"""Settings: valid keys are used, wrong keys are reported."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import pytest

from lsp_server.configuration.settings import Minutes, RemoteChoice, Settings, merged, read_settings, section_of


def test_every_setting_is_read_by_its_name_in_camel_case() -> None:
    raw = {
        "enabled": False,
        "disabledLanguages": ["markdown", "plaintext"],
        "model": "/models/mellum-4b",
        "provider": "cuda",
        "threads": 1,
        "contextTokens": 2048,
        "maxTokens": 32,
        "indexWorkspace": False,
        "completeIgnoredFiles": True,
        "logLevel": "debug",
        "eagerness": "quiet",
        "eagernessByLanguage": {"python": "eager"},
        "deadline": 250,
        "stateMemory": 1024,
        "disabledIn": ["comment", "string"],
        "unloadAfter": 0.5,
        "learnGate": False,
        "statistics": False,
        "collectSamples": True,
        "remote.url": "https://gpu.example",
        "remote.model": "mellum",
    }
    settings, complaints = read_settings(raw)
    assert complaints == []
    assert settings == Settings(
        enabled=False,
        disabled_languages=("markdown", "plaintext"),
        model="/models/mellum-4b",
        provider="cuda",
        threads=1,
        context_tokens=2048,
        max_tokens=32,
        index_workspace=False,
        learn_gate=False,
        statistics=False,
        collect_samples=True,
        complete_ignored_files=True,
        log_level="debug",
        eagerness="quiet",
        eagerness_by_language={"python": "eager"},
        deadline=250,
        state_memory=1024,
        disabled_in=("comment", "string"),
        unload_after=Minutes(0.5),
        remote_url="https://gpu.example",
        remote_model="mellum",
    )
    assert len(raw) == len(fields(Settings)), "none is left out here"
    assert (settings.confidence_in("python"), settings.confidence_in("go")) == (0.45, 0.8)


def test_nothing_and_null_mean_the_defaults() -> None:
    assert read_settings(None) == (Settings(), [])
    assert read_settings({}) == (Settings(), [])
    assert read_settings({"model": None, "threads": None}) == (Settings(), [])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"enabled": "false"}, "mellum.enabled must be true or false, not a string"),
        ({"maxTokens": 1.5}, "mellum.maxTokens must be a whole number, not a number"),
        ({"maxTokens": True}, "mellum.maxTokens must be a whole number, not a boolean"),
        ({"maxTokens": 0}, "mellum.maxTokens must be at least 1, not 0"),
        ({"threads": "two"}, "mellum.threads must be a whole number, not a string"),
        ({"model": ["a"]}, "mellum.model must be a string, not a list"),
        ({"disabledLanguages": "python"}, "mellum.disabledLanguages must be a list of strings"),
        ({"disabledLanguages": [1]}, "mellum.disabledLanguages must be a list of strings"),
        ({"logLevel": "loud"}, "mellum.logLevel must be one of debug, info, warning, error, not 'loud'"),
        ({"provider": "gpu"}, "mellum.provider must be one of auto, cpu, cuda, tensorrt, directml, coreml, openvino"),
        ({"eagerness": "high"}, "mellum.eagerness must be one of quiet, balanced, eager, always, not 'high'"),
        ({"eagerness": 0.7}, "mellum.eagerness must be one of quiet, balanced, eager, always, not 0.7"),
        ({"eagernessByLanguage": 0.5}, "mellum.eagernessByLanguage must be an object of language ids, not a number"),
        ({"eagernessByLanguage": {"go": True}}, "mellum.eagernessByLanguage must be one of quiet, balanced, eager"),
        ({"deadline": -1}, "mellum.deadline must be at least 0, not -1"),
        ({"stateMemory": 0.5}, "mellum.stateMemory must be a whole number, not a number"),
        ({"temperature": 1}, "Unknown setting mellum.temperature. There are: enabled, disabledLanguages"),
        ({"disabledIn": "comment"}, "mellum.disabledIn must be a list of strings"),
        ({"disabledIn": ["comments"]}, "mellum.disabledIn must be one of comment, string, not 'comments'"),
        ({"unloadAfter": -1}, "mellum.unloadAfter must be at least 0, not -1"),
        ({"unloadAfter": "never"}, "mellum.unloadAfter must be a number, not 'never'"),
        ({"unloadAfter": True}, "mellum.unloadAfter must be a number, not True"),
        ({"threads": 0}, "mellum.threads must be at least 1, not 0"),
        ({"threads": -7}, "mellum.threads must be at least 1, not -7"),
        ([1, 2], "The settings of mellum must be an object, not a list"),
        ("on", "The settings of mellum must be an object, not a string"),
    ],
)
def test_a_wrong_setting_is_named_and_its_default_used(raw: Any, said: str) -> None:
    settings, complaints = read_settings(raw)
    assert settings == Settings()
    assert len(complaints) == 1
    assert said in complaints[0]


@pytest.mark.parametrize("threads", [100, 1_000_000, 10**30])
def test_there_are_no_more_threads_than_cores(threads: int) -> None:
    settings, complaints = read_settings({"threads": threads})
    assert settings.threads is not None
    assert settings.threads <= (os.cpu_count() or 1)
    assert complaints == [
        f"Setting mellum.threads is {threads:,}, and this machine has {settings.threads} cores; "
        f"{settings.threads} are used."
    ]


def test_thousands_of_wrong_settings_are_a_few_sentences() -> None:
    _, complaints = read_settings({"x" * 10_000 + str(index): index for index in range(5_000)})
    assert len(complaints) == 21
    assert complaints[-1] == "4,980 more settings of mellum are wrong."
    assert all(len(complaint) < 500 for complaint in complaints)


def test_one_wrong_setting_does_not_spoil_the_others() -> None:
    settings, complaints = read_settings({"threads": 0, "maxTokens": 7})
    assert settings == Settings(max_tokens=7)
    assert len(complaints) == 1


def test_settings_may_stand_inside_their_section_and_the_editor_overrides_the_start() -> None:
    assert section_of({"mellum": {"enabled": False}}) == {"enabled": False}
    assert section_of({"enabled": False}) == {"enabled": False}
    assert merged({"threads": 1, "maxTokens": 8}, {"maxTokens": 9}) == {"threads": 1, "maxTokens": 9}
    assert merged({"threads": 1}, None) == {"threads": 1}


@pytest.mark.parametrize("key", ["contextTokens", "maxTokens", "deadline", "stateMemory"])
def test_a_number_that_nothing_can_compute_with_is_refused(key: str) -> None:
    settings, [complaint] = read_settings({key: 10**400})
    assert settings == Settings()
    assert f"mellum.{key} must be at most" in complaint


def test_a_group_of_settings_may_come_as_an_object_or_by_whole_names() -> None:
    wanted = Settings(remote_url="https://a", remote_model="m")
    assert read_settings({"remote": {"url": "https://a", "model": "m"}}) == (wanted, [])
    assert read_settings({"remote.url": "https://a", "remote": {"model": "m"}}) == (wanted, [])
    assert read_settings(merged({"remote": {"url": "https://a"}}, {"remote.model": "m"})) == (wanted, [])
    assert wanted.model_choice.remote == RemoteChoice("https://a", "m")
    assert replace(wanted, complete_ignored_files=True).model_choice.remote is None  # ignored code stays here
    for wrong in ({"remote": "https://a"}, {"remote": {"token": "t"}}, {"remote": {"url": 1}}):
        settings, [complaint] = read_settings(wrong)
        assert settings == Settings()
        assert "mellum.remote" in complaint
