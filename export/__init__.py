"""From published weights to a folder that the engine loads. It knows the engine's manifest format."""
