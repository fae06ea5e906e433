"""`python -m lsp_server` is `mellum-lsp serve`."""

import sys

from lsp_server.server import serve_stdio

if __name__ == "__main__":
    sys.exit(serve_stdio())
