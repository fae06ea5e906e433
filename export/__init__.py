"""From published weights to a folder that the engine loads. Knows the engine's manifest format, nothing else of it."""
