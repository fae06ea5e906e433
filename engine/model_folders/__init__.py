"""Model folders on disk: where they lie, what their manifest says, and whether they are whole."""
