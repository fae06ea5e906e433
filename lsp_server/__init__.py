"""The language server and the command line: the only place that knows both the engine and the indexer."""
