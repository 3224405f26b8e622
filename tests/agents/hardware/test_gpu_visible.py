"""CUDA_VISIBLE_DEVICES, as CUDA reads it."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.hardware.gpu_visible import names_mig, parse_visible

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33", "")


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        (None, (0, 1, 2, 3)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0", (0,)),
        ("2, 0", (2, 0)),
        ("1,-1,2", (1,)),
        ("1,9,2", (1,)),
        ("GPU-bb", (2,)),
        ("GPU-bb33,0", (2, 0)),
        ("GPU-aa", ()),  # fits two
        ("GPU-cc", ()),
        ("0,GPU-aa11", ()),  # named twice
        ("²", ()),
    ],
)
def test_what_is_visible(text, positions):
    assert parse_visible(text, UUIDS) == positions


def test_instances_that_are_named():
    assert names_mig("MIG-a, MIG-b") == ("MIG-a", "MIG-b")
    assert names_mig("0,1") == names_mig(None) == ()
