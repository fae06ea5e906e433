"""The list of packages: licences, and which packages are held out."""

from __future__ import annotations

from evaluation.harness.functions import PACKAGES as TYPED
from evaluation.harness.workspaces import PACKAGES as WORKSPACES
from training.data.filters import PERMISSIVE
from training.data.sources import packages


def test_nothing_that_a_benchmark_works_on_is_learned_from() -> None:
    learned = {package.name for package in packages(more=True) if not package.held_out}
    measured = {requirement.partition("==")[0] for requirement in TYPED}
    for workspace in WORKSPACES:
        name, _, version = workspace.pin.rpartition("@" if workspace.client == "npm" else "==")
        measured.add(name or version)
    assert len(measured) == len(TYPED) + len(WORKSPACES)
    assert not learned & measured


def test_every_package_is_pinned_listed_once_and_permissive() -> None:
    listed = packages(more=True)
    assert len({package.name for package in listed}) == len(listed)
    assert all(package.version and package.licence in PERMISSIVE for package in listed)
