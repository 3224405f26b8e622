"""One stack of real parts, shared by the tests of this directory that leave it intact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.parts import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
