// What is shown where there is nothing yet: how to send the first data.

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
    h("p", {}, "and start it with the address of Kafka:"),
    h("pre", { tabindex: 0, "aria-label": "Command that starts the application" }, h("code", {}, shell)),
    h("p", { class: "muted" }, "The first figures are here two seconds after it starts. This page looks for them by itself."),
  );
}

/** Nothing was ever heard of this endpoint. */
export function noData(endpoint: { namespace: string; name: string }): HTMLElement {
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No data of this endpoint yet"),
    h("p", { class: "muted" }, `Nothing was ever heard of ${endpoint.namespace}/${endpoint.name}.`),
    firstData(endpoint.namespace, endpoint.name),
  );
}

/** No engine of this endpoint told anything in the time shown. */
export function noEngine({ namespace, name }: { namespace: string; name: string }): HTMLElement {
  const shell = [
    "endpoint-analytics agent scrape http://127.0.0.1:8000/metrics",
    "    --kafka HOST:9092 --replica-id REPLICA",
    `    --namespace ${namespace} --endpoint ${name}`,
  ].join(" \\\n");
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No figures of a serving engine in this time"),
    h("p", { class: "muted" }, "vLLM, SGLang, TGI, TEI, Triton, llama.cpp and Ray Serve tell their queue, cache and tokens at /metrics."),
    h(
      "div",
      { class: "empty-how" },
      h("p", {}, "Read them beside each replica, under the id that its requests have:"),
      h("pre", { tabindex: 0, "aria-label": "Command that reads an engine's metrics" }, h("code", {}, shell)),
      h("p", { class: "muted" }, "agent run and agent proxy do the same with --scrape URL, a middleware with ENDPOINT_ANALYTICS_SCRAPE."),
    ),
  );
}

/** The token sees no endpoint at all. */
export function noEndpoints(namespaces: string[]): HTMLElement {
  const where = namespaces.length ? `Your token sees ${namespaces.join(", ")}, and nothing was heard of it yet.` : "Nothing was heard of any endpoint yet.";
  return h(
    "section",
    { class: "empty card" },
    h("h2", {}, "No endpoint yet"),
    h("p", { class: "muted" }, where),
    firstData(namespaces[0] ?? "acme", "my-model"),
  );
}
