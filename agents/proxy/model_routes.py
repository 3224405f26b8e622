"""The routes that a proxy knows: the well-known paths of language models' APIs. Pure.

A route is a template, never a request's path, which may hold anything. A proxy sees no templates; but these APIs have
the same paths everywhere, and none has a parameter in it. Any other path has no route.

Sources: platform.openai.com/docs/api-reference; docs.anthropic.com/en/api; docs.vllm.ai (OpenAI-compatible server);
huggingface.co/docs/text-generation-inference; ollama, docs/api.md; llama.cpp, tools/server/README.md; docs.sglang.ai.
"""

from __future__ import annotations

ROUTES = frozenset(
    {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/v1/moderations",
        "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/generations",
        "/v1/images/edits", "/v1/messages", "/v1/messages/count_tokens", "/v1/complete",
        "/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score", "/pooling", "/classify",
        "/tokenize", "/detokenize",
        "/generate", "/generate_stream", "/embed", "/embed_sparse", "/invocations",
        "/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/tags", "/api/show", "/api/ps",
        "/completion", "/completions", "/chat/completions", "/embedding", "/embeddings", "/infill",
    }
)  # fmt: skip
"""Without a query, and as they are."""


def route_of(path: str) -> str:
    """Return the path if it is a well-known one; else nothing."""
    return path if path in ROUTES else ""
