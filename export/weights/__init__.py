"""A decoder's weights in numpy: its matrices, its rotary angles, and its forward pass."""
