"""Benchmarks: of what users see, through the real server over stdio; and of parts, which they import.

Not part of the installed package.
"""

# The current folder may be a stranger's, and `python -m` looks for modules there first, as some dependencies do for
# programs: so it leaves both paths before anything else is imported, unless Python or this package itself lie in it.
# Packages that `python -m` starts have these lines in common: to import them would be to look there for them, too. What
# they import themselves is there already.
import os
import site
import sys

_programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(entry for entry in _programs if os.path.isabs(entry))
_relative = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(entry)]
_library = os.path.dirname(os.__file__)
_trusted = (
    f"{__path__[0]}/..",
    _library,
    f"{_library}/lib-dynload",
    *site.getsitepackages(),
    site.getusersitepackages(),
)
try:
    _strange = {*map(os.path.realpath, ("", *_relative))} - {*map(os.path.realpath, _trusted)}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _strange]
except OSError:  # the current folder was removed: nothing can be imported from it
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry)]
