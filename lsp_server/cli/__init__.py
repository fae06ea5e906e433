"""The command line, a file a command."""


def main() -> None:
    """Run a command. Importing the command line takes long, so it happens here."""
    from lsp_server.cli.app import main

    main()
