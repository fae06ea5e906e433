"""A decoder's weights as numpy sees them: its matrices, its angles, and its forward pass."""
