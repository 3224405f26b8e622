"""The parts of a kubeconfig that are read: frozen structs with its own names and defaults. Only models belong here.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import msgspec


class Read(msgspec.Struct, frozen=True, rename="kebab"):
    """A part of a kubeconfig."""


class Context(Read, frozen=True):
    """Which cluster, as which user, in which namespace."""

    cluster: str = ""
    user: str = ""
    namespace: str | None = None


class Cluster(Read, frozen=True):
    """How to reach a server and verify it."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class Variable(Read, frozen=True):
    """An environment variable of a command."""

    name: str
    value: str


class Command(Read, frozen=True):
    """A command that prints an ExecCredential."""

    command: str
    api_version: str = msgspec.field(default="", name="apiVersion")
    args: tuple[str, ...] | None = None
    env: tuple[Variable, ...] | None = None
    interactive_mode: str = msgspec.field(default="", name="interactiveMode")
    install_hint: str = msgspec.field(default="", name="installHint")
    provide_cluster_info: bool = msgspec.field(default=False, name="provideClusterInfo")


class User(Read, frozen=True):
    """Credentials, and whom to impersonate."""

    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    exec: Command | None = None
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    as_user: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: tuple[str, ...] | None = None
    as_user_extra: dict[str, tuple[str, ...]] | None = None
    username: str = ""
    auth_provider: dict[str, object] | None = None


class NamedEntry(Read, frozen=True):
    """A named context, cluster or user."""

    name: str
    context: Context | None = None
    cluster: Cluster | None = None
    user: User | None = None


class File(Read, frozen=True):
    """A kubeconfig file."""

    current_context: str | None = None
    contexts: tuple[NamedEntry, ...] | None = None
    clusters: tuple[NamedEntry, ...] | None = None
    users: tuple[NamedEntry, ...] | None = None
