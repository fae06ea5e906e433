"""A finished model is fitted to real code: both sets of numbers, at once, without torch, within its time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine import Engine, ModelError
from engine.fitting import Place, Point, fit
from engine.fitting.model_fit import LEAST_PLACES
from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import read_manifest, write_manifest
from export.default_model import default_ngrams
from export.real_code import LONGEST, MOST_CHARACTERS, MOST_NEIGHBOURS, CodeFile, places_in, standard_library
from indexer.retrieval import nearby_files


@pytest.fixture
def unfitted(model_cache: Path, tmp_path: Path) -> Path:
    """The default model, as if it had come without an adapter's numbers."""
    folder = tmp_path / "model"
    shutil.copytree(model_cache / "models" / DEFAULT_MODEL, folder)
    write_manifest(folder, replace(read_manifest(folder), ngrams=None, calibration=1.0))
    return folder


def test_a_model_is_fitted_to_the_standard_library(unfitted: Path) -> None:
    told: list[tuple[str, float]] = []
    found = fit(
        unfitted,
        places_in(standard_library(5), 5),
        source="the standard library",
        known=default_ngrams(),
        seconds=0,
        progress=lambda what, share: told.append((what, share)),
    )
    manifest = read_manifest(unfitted)
    assert manifest.ngrams == found.ngrams
    assert manifest.calibration == found.calibration
    assert manifest.fitted == f"{found.places} places of the standard library"
    assert found.places == 2 * LEAST_PLACES
    assert found.gained > 0.05
    assert 0.25 < found.calibration < 4
    assert [what for what, _ in told] == ["Fitting n-grams"] * LEAST_PLACES + ["Calibrating"] * LEAST_PLACES
    assert Engine.load(unfitted, threads=1, prompt_tokens=256).manifest.fitted


def test_an_interrupted_fit_changes_nothing(unfitted: Path) -> None:
    def interrupted(what: str, share: float) -> None:
        if what == "Calibrating" and share > 0:
            raise KeyboardInterrupt

    before = read_manifest(unfitted)
    with pytest.raises(KeyboardInterrupt):
        fit(unfitted, places_in(standard_library(5), 5), source="code", seconds=0, progress=interrupted)
    assert read_manifest(unfitted) == before


def test_a_place_of_nothing_is_refused(unfitted: Path) -> None:
    point = Point("package", "a.py", "python", "function", "x = 1\n", 0, "")
    with pytest.raises(ModelError, match="no token of code can be observed"):
        fit(unfitted, [Place(point, ())], source="code", seconds=0)


def test_code_without_functions_gives_no_places() -> None:
    with pytest.raises(ValueError, match="no function of a usual length"):
        next(places_in([CodeFile("package", "a.py", "python", "x = 1\n")], 1))


def test_places_are_whole_documents_with_a_hole() -> None:
    files = standard_library(5)
    texts = {file.path: file.text for file in files}
    places = [place for place, _ in zip(places_in(files, 5), range(40), strict=False)]
    assert {place.point.kind for place in places} == {"function", "line"}
    for place in places:
        point = place.point
        assert point.text[: point.offset] + point.truth + point.text[point.offset :] == texts[point.path]
        assert ("\n" in point.truth) <= (point.kind == "function")
        assert 0 < len(place.neighbours) <= MOST_NEIGHBOURS


def test_the_files_near_a_place_are_as_many_as_the_index_gives() -> None:
    assert (MOST_NEIGHBOURS, MOST_CHARACTERS, LONGEST) == (
        nearby_files.MOST_NEIGHBOURS,
        nearby_files.MOST_CHARACTERS,
        nearby_files.LONGEST,
    )
