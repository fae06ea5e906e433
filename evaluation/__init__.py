"""Benchmarks: of what users see, through the real server over stdio; and of parts, which they import.

Not part of the installed package.
"""

# The current folder is not trusted, and `python -m` looks for modules there first; some dependencies look for programs.
# So these lines take it out of both search paths before any other import, unless Python or this package lies in it.
# Each package that `python -m` starts has these lines: importing them would search the current folder. Python itself
# has imported the modules that they need.
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
