"""What looks like a secret, by a file's name or in its text. Rules are data, in the TOML files beside this one."""

from indexer.secrets.names import secret_name
from indexer.secrets.texts import MOST_SECRETS, Secret, secrets_in, without_secrets

__all__ = ["MOST_SECRETS", "Secret", "secret_name", "secrets_in", "without_secrets"]
