"""The command line, a file a command."""


def main() -> None:
    """Run a command; the whole command line is imported only now."""
    from lsp_server.cli.app import main

    main()
