"""The workspace: its folders, its documents, and the index of them."""
