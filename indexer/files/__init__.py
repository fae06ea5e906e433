"""Files and paths of a workspace, whatever lies there."""
