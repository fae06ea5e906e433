"""`python -m lsp_server.cli` is `mellum-lsp`."""

from lsp_server.cli.app import main

main()
