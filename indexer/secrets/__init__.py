"""Likely secrets, found by a file's name or in its text. The rules are data, in the TOML files of this folder."""

from indexer.secrets.names import secret_name
from indexer.secrets.texts import MOST_SECRETS, Secret, secrets_in, without_secrets

__all__ = ["MOST_SECRETS", "Secret", "secret_name", "secrets_in", "without_secrets"]
