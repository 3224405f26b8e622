"""Where to push: the URL's path, and headers from a file, whose values are never shown."""

import pytest

from endpoint_analytics.pipeline.push.destination import metrics_url, read_headers
from endpoint_analytics.schemas.configuration.settings import ConfigurationError


@pytest.mark.parametrize(
    ("given", "posted"),
    [
        ("http://collector:4318", "http://collector:4318/v1/metrics"),
        ("https://collector/", "https://collector/v1/metrics"),
        ("http://p:9090/api/v1/otlp/v1/metrics", "http://p:9090/api/v1/otlp/v1/metrics"),
        ("http://c/v1/metrics?tenant=a", "http://c/v1/metrics?tenant=a"),
    ],
)
def test_the_url(given, posted):
    assert metrics_url(given) == posted


@pytest.mark.parametrize(
    "given", ["collector:4318", "grpc://c:4317", "http://", "http://u:secret@c", "http://c#x"]
)
def test_urls_that_cannot_be(given):
    with pytest.raises(ConfigurationError) as caught:
        metrics_url(given)
    assert "secret" not in str(caught.value)


def test_headers(tmp_path):
    file = tmp_path / "headers"
    file.write_text("# login\nAuthorization: Bearer s3cret\n\nX-Scope-OrgID:  acme \n")
    assert read_headers(str(file)) == {"Authorization": "Bearer s3cret", "X-Scope-OrgID": "acme"}
    assert read_headers(None) == {}


@pytest.mark.parametrize(
    "line", ["s3cret", "Authorization Bearer s3cret", "Content-Type: s3cret", "A b: s3cret", "A: s3cret\x07"]
)
def test_lines_that_are_no_headers(tmp_path, line):
    file = tmp_path / "headers"
    file.write_text(f"X-A: b\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2 ") as caught:
        read_headers(str(file))
    assert "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="--headers-file"):
        read_headers(str(tmp_path / "none"))
