"""Everything that may be wrong about a workspace, a cache folder, a model or a machine, once each, with a real server.

Whatever it is: the server answers, what is whole is indexed, and each trouble is told in a sentence or two.
"""

from evaluation.robustness.faults.table import FAULTS, run

__all__ = ["FAULTS", "run"]
