"""The page's types are those of the API."""

from tests.support.page_models import MODELS, page_models


def test_the_pages_types_are_up_to_date():
    """`make page-models` writes them."""
    assert MODELS.read_text() == page_models()
