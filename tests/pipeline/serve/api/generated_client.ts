// Reads figures with a client made from the OpenAPI document; test_openapi_judges.py makes it, compiles this and runs it.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { env: Record<string, string> };

const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const client = createClient<paths>({ baseUrl: process.env.URL, headers });
const path = { namespace: "acme", name: "llm" };

const { data, error } = await client.GET("/v2/endpoint/{namespace}/{name}/series", {
  params: { path, query: { from: "now-1h", series: "requests", include: "summary", details: true } },
});
if (error !== undefined) throw new Error(JSON.stringify(error));
const statuses: Record<string, number> | undefined = data.summary?.statuses;

const scraped = await client.GET("/v2/endpoint/{namespace}/{name}/open-metrics", {
  params: { path, query: { "name[]": ["http_requests", "replica_state"] } },
  parseAs: "text",
});
const text: string | undefined = scraped.data;

const { error: problem } = await client.GET("/v2/endpoint/{namespace}/{name}/summary", {
  params: { path: { ...path, name: "lm" } },
});
if (problem === undefined || typeof problem === "string") throw new Error("an unknown endpoint is no problem");
const status: number = problem.status;

console.log(JSON.stringify({ statuses, text, status }));
