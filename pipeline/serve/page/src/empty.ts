// What is shown where there is nothing yet: how to send the first data.

import { h } from "./dom.ts";

function firstData(namespace: string, endpoint: string): HTMLElement {
  const code = [
    "from endpoint_analytics.agents.asgi import AnalyticsMiddleware",
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
