"""The page of `mellum-lsp stats --html`: one file with its plots in it, and nothing from elsewhere."""
