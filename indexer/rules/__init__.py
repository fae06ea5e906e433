"""Which files are left out of a workspace: the rules of git and of `.aiignore`, and what is no code."""
