"""Which files are left out of a workspace: by the rules of git and of `.aiignore`, and because they are no code."""
