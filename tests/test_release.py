"""What a release states of itself agrees: versions, the changelog, the lowest and the pinned dependencies."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import sfumato as sf

ROOT = Path(__file__).parent.parent


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "sfumato"]


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lowest_and_the_pinned_version_are_as_stated(requirement: Requirement) -> None:
    (specifier,) = requirement.specifier
    name = canonicalize_name(requirement.name)
    assert specifier.operator == ">="
    assert pins("constraints-lowest.txt")[name] == Version(specifier.version)
    assert pins("constraints.txt")[name] in requirement.specifier


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.M)
    assert newest is not None
    assert newest[1] == sf.__version__
