"""The routes that a proxy knows by their paths alone."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.proxy.model_routes import ROUTES, route_of


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/generate_stream", "/api/chat"])
def test_a_well_known_path_is_its_own_route(path):
    assert route_of(path) == path


@pytest.mark.parametrize(
    "path", ["/", "", "/v1/chat/completions/", "/users/17", "/V1/models", "/v1/models/m"]
)
def test_any_other_path_has_none(path):
    assert route_of(path) == ""


def test_they_are_templates_without_parameters():
    assert all(route.startswith("/") and not set(route) & set("{}<>?% ") for route in ROUTES)
