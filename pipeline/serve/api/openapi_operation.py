"""One operation of the OpenAPI document, and who may ask for it. Only data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from endpoint_analytics.pipeline.serve.api.openapi_parameters import references
from endpoint_analytics.pipeline.serve.api.openapi_responses import Document

Security = Sequence[Mapping[str, Sequence[str]]]
TOKEN: Security = ({"token": ()},)
SESSION: Security = ({"session": ()},)
TOKEN_OR_SESSION: Security = (*TOKEN, *SESSION)
OPTIONAL_TOKEN: Security = ({}, *TOKEN)
ANYONE: Security = ()


def operation(
    identity: str,
    tag: str,
    summary: str,
    text: str,
    responses: Document,
    *,
    parameters: Sequence[str] = (),
    security: Security = TOKEN_OR_SESSION,
) -> Document:
    """Return an operation; `identity` is the name that generated clients give it."""
    return {
        "operationId": identity,
        "tags": [tag],
        "summary": summary,
        "description": text,
        "security": security,
        "parameters": references(parameters),
        "responses": responses,
    }
