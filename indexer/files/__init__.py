"""The files and paths of a workspace, of any kind."""
