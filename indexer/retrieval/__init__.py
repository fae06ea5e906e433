"""From a cursor in a document to snippets of other files, the best first."""
