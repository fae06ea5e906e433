"""From a workspace to ranked snippets. Knows no LSP and no model."""
