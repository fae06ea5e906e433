"""Models that the exporter knows by name, and how fast each would be on this machine."""

from export.known_models.advice import Advice, Estimate, Limits, advise, scaled
from export.known_models.machine import Machine
from export.known_models.predictions import Prediction, predict
from export.known_models.shape_costs import LARGE, ShapeCosts, measure_shape, written_layers
from export.known_models.table import KnownModel, Quality, known_model, known_models

__all__ = [
    "LARGE",
    "Advice",
    "Estimate",
    "KnownModel",
    "Limits",
    "Machine",
    "Prediction",
    "Quality",
    "ShapeCosts",
    "advise",
    "known_model",
    "known_models",
    "measure_shape",
    "predict",
    "scaled",
    "written_layers",
]
