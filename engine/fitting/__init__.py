"""Numbers that are fitted to a finished model: how n-grams are mixed in, and how its probabilities are calibrated.

From places in real code and what really follows there; needs no torch, so that every exported model is fitted.
"""

from engine.fitting.model_fit import Fit, fit
from engine.fitting.place import Place, Point

__all__ = ["Fit", "Place", "Point", "fit"]
