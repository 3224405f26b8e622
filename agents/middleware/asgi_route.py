"""The route of a request: its template, never its path, which may hold anything. Pure.

Frameworks leave it in the ASGI scope, each in its way: FastAPI the route, Litestar the template, Starlette the values
of its parameters, from which the template follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import isclass, isfunction, ismethod
from typing import Any


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the template, such as `/users/{id}`; empty if no route matched, or the framework does not tell."""
    template = getattr(scope.get("route"), "path", None) or scope.get("path_template")
    if isinstance(template, str) and template:
        return _joined(scope, template)
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return ""
    if not (isfunction(endpoint) or ismethod(endpoint) or isclass(endpoint)):
        return f"{scope.get('root_path', '')}/*"  # an application that is mounted: what is below is its own
    return _with_names(scope["path"], scope.get("path_params") or {})


def _joined(scope: Mapping[str, Any], template: str) -> str:
    """Return the template behind the prefix of the applications that it is mounted in."""
    root, outer = scope.get("root_path", ""), scope.get("app_root_path", "")
    mounted = root.removeprefix(outer)
    return template if not mounted or template.startswith(mounted) else mounted + template


def _with_names(path: str, parameters: Mapping[str, Any]) -> str:
    """Return the path with its parameters' names in place of their values; empty if one of them is not in it."""
    for name, value in parameters.items():
        found = re.search(f"/{re.escape(str(value))}(?=/|$)", path)
        if found is None:
            return ""
        path = f"{path[: found.start()]}/{{{name}}}{path[found.end() :]}"
    return path
