// Empty states: what the page shows without data, and how to send the first.

import { h } from "./dom.ts";

function firstData(namespace: string, endpoint: string): HTMLElement {
  const code = [
    "from endpoint_analytics import AnalyticsMiddleware",
    "",
    `app.add_middleware(AnalyticsMiddleware, namespace="${namespace}", endpoint="${endpoint}")`,
  ].join("\n");
  const shell = "ENDPOINT_ANALYTICS_KAFKA=HOST:9092 uvicorn my_model:app";
  return h(
    "div",
    { class: "empty-how" },
    h("p", {}, "Add one line to the ASGI application that serves the model (FastAPI, Starlette and others):"),
    h("pre", { tabindex: 0, "aria-label": "Code of the application" }, h("code", {}, code)),
    h("p", {}, "Then start it with the address of Kafka:"),
    h("pre", { tabindex: 0, "aria-label": "Command that starts the application" }, h("code", {}, shell)),
    h("p", { class: "muted" }, "The first figures appear two seconds after it starts. This page updates by itself."),
  );
}

/** No agent has ever reported this endpoint. */
export function noData(endpoint: { namespace: string; name: string }): HTMLElement {
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No data for this endpoint yet"),
    h("p", { class: "muted" }, `No agent has reported ${endpoint.namespace}/${endpoint.name}.`),
    firstData(endpoint.namespace, endpoint.name),
  );
}

/** No serving engine of this endpoint reported anything in the range shown. */
export function noEngine({ namespace, name }: { namespace: string; name: string }): HTMLElement {
  const shell = [
    "endpoint-analytics agent scrape http://127.0.0.1:8000/metrics",
    "    --kafka HOST:9092 --replica-id REPLICA",
    `    --namespace ${namespace} --endpoint ${name}`,
  ].join(" \\\n");
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No serving engine metrics in this range"),
    h("p", { class: "muted" }, "vLLM, SGLang, TGI, TEI, Triton, llama.cpp and Ray Serve expose their queue, cache and tokens at /metrics."),
    h(
      "div",
      { class: "empty-how" },
      h("p", {}, "Scrape them next to each replica, with the replica id of its requests:"),
      h("pre", { tabindex: 0, "aria-label": "Command that scrapes a serving engine" }, h("code", {}, shell)),
      h("p", { class: "muted" }, "agent run and agent proxy do the same with --scrape URL, the middleware with ENDPOINT_ANALYTICS_SCRAPE."),
    ),
  );
}

/** The token gives access to no endpoint. */
export function noEndpoints(namespaces: string[]): HTMLElement {
  const where = namespaces.length ? `Your token gives access to ${namespaces.join(", ")}, which has no data yet.` : "No agent has reported an endpoint yet.";
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No endpoints yet"),
    h("p", { class: "muted" }, where),
    firstData(namespaces[0] ?? "acme", "my-model"),
  );
}
