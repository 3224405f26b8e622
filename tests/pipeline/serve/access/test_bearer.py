import pytest
from starlette.datastructures import Headers

from endpoint_analytics.pipeline.serve.access.bearer import read_bearer


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["Bearer abc"], "abc"),
        (["bearer  abc "], "abc"),
        (["Basic abc"], ""),
        (["abc"], ""),
        (["Bearer"], ""),
        (["Bearer abc", "Bearer abc"], ""),
        (["Bearer " + "a" * 600], ""),
    ],
)
def test_read_bearer(values, expected):
    assert read_bearer(Headers(raw=[(b"authorization", value.encode()) for value in values])) == expected
