"""Settings are described once: the schema is made from them, and everything else from the schema."""

import dataclasses
import json
import subprocess
import sys

from lsp_server.configuration.schema import schema, stale_files
from lsp_server.configuration.settings import Settings, read_settings


def test_generated_files_are_not_stale() -> None:
    """VS Code's settings and the READMEs' tables say what the settings say."""
    stale = sorted(path.name for path in stale_files())
    assert stale == [], "run: python -m lsp_server.configuration.schema --write"


def test_every_setting_is_described_and_its_default_is_taken() -> None:
    """Each field has a sentence, and the defaults are what the server itself reads without a complaint."""
    properties = schema()["properties"]
    assert len(properties) == len(dataclasses.fields(Settings))
    assert all(one["description"].endswith(".") for one in properties.values())
    defaults = {name: one["default"] for name, one in properties.items()}
    settings, complaints = read_settings(defaults)
    assert complaints == []
    assert settings == Settings()


def test_a_workspace_names_no_model() -> None:
    """What can name a program, a folder or an address is the user's alone; what is a choice or a number is not."""
    scopes = {name: one["scope"] for name, one in schema()["properties"].items()}
    assert scopes["model"] == scopes["statistics"] == scopes["collectSamples"] == "user"
    assert scopes["provider"] == scopes["maxTokens"] == scopes["disabledLanguages"] == "workspace"


def test_the_command_prints_the_schema() -> None:
    """`mellum-lsp settings --schema` prints what tools read."""
    command = [sys.executable, "-m", "lsp_server.cli", "settings", "--schema"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == schema()
