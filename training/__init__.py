"""How the default model was taught to fill in the middle. Not part of the installed package."""

# The current folder may be a stranger's, and `python -m` looks for modules there first, as some dependencies do for
# programs: so it leaves both paths before anything else is imported, unless this package itself lies in it. Packages
# that `python -m` starts have these lines in common: to import them would be to look in the current folder for them.
import os
import sys

_programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(entry for entry in _programs if os.path.isabs(entry))
_relative = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(entry)]
try:
    _strange = {os.path.realpath(entry) for entry in ("", *_relative)} - {os.path.realpath(f"{__path__[0]}/..")}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _strange]
except OSError:  # the current folder was removed: nothing can be imported from it
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry)]
