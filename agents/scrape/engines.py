"""Maps each serving engine's metrics to ours. Only this table belongs here.

Names differ between versions: of several, the first one present in a response is used. They are written as the engines
document them; a response may also use `_` for `:`, and counters with or without `_total`, and Ray prefixes `ray_` to
the metrics of everything that runs in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from endpoint_analytics.agents.scrape.selector import EVERYTHING, Selector, parse_selector
from endpoint_analytics.schemas import metrics as names

How = Literal["sum", "mean", "rate"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where `metric` comes from: the samples of the first of `names` that match `where`.

    Several samples (models, ranks, engines) are summed (`sum`) or averaged (`mean`); for counters (`rate`) the metric
    is their total increase per second. `factor` converts the result to the metric's unit.
    """

    metric: str
    names: tuple[str, ...]
    how: How = "sum"
    factor: float = 1.0
    where: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class ServingEngine:
    """A serving engine, recognized by its metrics.

    `name` stands in messages and rows, `title` in documents and on the page. `part` is the label of components that may
    call each other (models of an ensemble, deployments): if it has several values, one request may be counted once for
    each.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    part: str = ""


def _running(*found: str, where: str = "") -> Source:
    return Source(names.ENGINE_RUNNING_REQUESTS.name, found, where=parse_selector(where))


def _waiting(*found: str, where: str = "") -> Source:
    return Source(names.ENGINE_WAITING_REQUESTS.name, found, where=parse_selector(where))


def _kv_cache(*found: str, where: str = "") -> Source:
    """Engines report it as a ratio from 0 to 1."""
    return Source(names.ENGINE_KV_CACHE_PERCENT.name, found, "mean", 100.0, parse_selector(where))


def _counter(metric: names.EngineMetric, *found: str, where: str = "") -> Source:
    return Source(metric.name, found, "rate", where=parse_selector(where))


# If a response has metrics of two engines (vLLM in Ray Serve), each metric comes from the first that has it.
ENGINES = (
    # https://docs.vllm.ai/en/v0.12.0/design/metrics/ and vllm/v1/metrics/loggers.py; gpu_* until 0.9
    ServingEngine(
        "vllm",
        "vLLM",
        (
            _running("vllm:num_requests_running"),
            _waiting("vllm:num_requests_waiting"),
            _kv_cache("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
            _counter(names.ENGINE_PROMPT_TOKENS, "vllm:prompt_tokens_total"),
            _counter(
                names.ENGINE_CACHED_PROMPT_TOKENS,
                "vllm:prefix_cache_hits_total",
                "vllm:gpu_prefix_cache_hits_total",
            ),
            _counter(names.ENGINE_GENERATED_TOKENS, "vllm:generation_tokens_total"),
            # A request that its client aborted is neither (vllm/v1/engine/__init__.py: FinishReason).
            _counter(
                names.ENGINE_FINISHED_REQUESTS,
                "vllm:request_success_total",
                where='finished_reason!~"abort|error"',
            ),
            _counter(
                names.ENGINE_FAILED_REQUESTS, "vllm:request_success_total", where='finished_reason="error"'
            ),
            _counter(names.ENGINE_PREEMPTIONS, "vllm:num_preemptions_total"),
        ),
    ),
    # sglang/srt/metrics/collector.py (0.4.6 to 0.5.6), srt/observability/metrics_collector.py (0.5.23). With
    # --enable-priority-scheduling the total has an empty priority, next to one sample per priority. Aborted requests
    # are mostly ones that clients cancelled, not failures
    ServingEngine(
        "sglang",
        "SGLang",
        (
            _running("sglang:num_running_reqs", where='priority=""'),
            _waiting("sglang:num_queue_reqs", where='priority=""'),
            _kv_cache("sglang:token_usage"),
            _counter(names.ENGINE_PROMPT_TOKENS, "sglang:prompt_tokens_total"),
            _counter(names.ENGINE_CACHED_PROMPT_TOKENS, "sglang:cached_tokens_total"),
            _counter(names.ENGINE_GENERATED_TOKENS, "sglang:generation_tokens_total"),
            _counter(names.ENGINE_FINISHED_REQUESTS, "sglang:num_requests_total"),
            _counter(names.ENGINE_PREEMPTIONS, "sglang:num_retracted_requests_total"),
        ),
    ),
    # https://huggingface.co/docs/text-generation-inference/reference/metrics (3.3): tokens are counted when a
    # request ends
    ServingEngine(
        "tgi",
        "TGI",
        (
            _running("tgi_batch_current_size"),
            _waiting("tgi_queue_size"),
            _counter(names.ENGINE_PROMPT_TOKENS, "tgi_request_input_length_sum"),
            _counter(names.ENGINE_GENERATED_TOKENS, "tgi_request_generated_tokens_sum"),
            _counter(names.ENGINE_FINISHED_REQUESTS, "tgi_request_success"),
            _counter(names.ENGINE_FAILED_REQUESTS, "tgi_request_failure"),
        ),
    ),
    # text-embeddings-inference, core/src/{infer,queue,tokenization}.rs (1.8): the queue is the only gauge
    ServingEngine(
        "tei",
        "TEI",
        (
            _waiting("te_queue_size"),
            _counter(names.ENGINE_PROMPT_TOKENS, "te_request_input_length_sum"),
            _counter(names.ENGINE_FINISHED_REQUESTS, "te_request_success"),
            _counter(names.ENGINE_FAILED_REQUESTS, "te_request_failure"),
        ),
    ),
    # https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html (25.x), and
    # what its TensorRT-LLM backend adds
    ServingEngine(
        "triton",
        "Triton",
        (
            _running("nv_trt_llm_request_metrics", where='request_type="active"'),
            _waiting("nv_trt_llm_request_metrics", where='request_type="waiting"'),
            _waiting("nv_inference_pending_request_count"),
            _kv_cache("nv_trt_llm_kv_cache_block_metrics", where='kv_cache_block_type="fraction"'),
            _counter(names.ENGINE_FINISHED_REQUESTS, "nv_inference_request_success"),
            _counter(
                names.ENGINE_FAILED_REQUESTS, "nv_inference_request_failure", where='reason!="CANCELED"'
            ),
        ),
        part="model",
    ),
    # llama.cpp, tools/server/README.md (b6000 and later; the cache ratio until b5900)
    ServingEngine(
        "llamacpp",
        "llama.cpp",
        (
            _running("llamacpp:requests_processing"),
            _waiting("llamacpp:requests_deferred"),
            _kv_cache("llamacpp:kv_cache_usage_ratio"),
            _counter(names.ENGINE_PROMPT_TOKENS, "llamacpp:prompt_tokens_total"),
            _counter(names.ENGINE_GENERATED_TOKENS, "llamacpp:tokens_predicted_total"),
        ),
    ),
    # https://docs.ray.io/en/latest/serve/monitoring.html (2.4x to 2.5x). Per node; Ray updates them every 10 s
    ServingEngine(
        "ray",
        "Ray Serve",
        (
            _running(
                "serve_replica_processing_queries",
                "serve_num_ongoing_requests_at_replicas",
                "serve_num_ongoing_http_requests",
            ),
            _waiting("serve_deployment_queued_queries"),
            _counter(
                names.ENGINE_FINISHED_REQUESTS,
                "serve_deployment_request_counter_total",
                "serve_num_http_requests_total",
            ),
            _counter(
                names.ENGINE_FAILED_REQUESTS,
                "serve_deployment_error_counter_total",
                "serve_num_http_error_requests_total",
            ),
        ),
        part="deployment",
    ),
)
