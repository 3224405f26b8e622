// The entry page: every endpoint that the token gives access to, each with five figures and their sparklines.

import { ApiError, readEndpoints, readNamespaces } from "./api.ts";
import { formatAddress, DEFAULT_VIEW } from "./address.ts";
import { Age } from "./age.ts";
import { h } from "./dom.ts";
import { noEndpoints } from "./empty.ts";
import { amount, clock, count, DASH, duration, rate, share } from "./format.ts";
import type { Navigation } from "./navigation.ts";
import { Banner } from "./notice.ts";
import { Poll, type Work } from "./poll.ts";
import type { EndpointCard, Endpoints } from "./models.ts";
import { sparkline } from "./sparkline.ts";
import { Pauses } from "./warnings.ts";

const EVERY_S = 5;
const CONCURRENCY = 4;

export class ListPage implements Work {
  readonly element: HTMLElement;
  private readonly banner = new Banner(() => this.poll.restart());
  private readonly pauses = new Pauses();
  private readonly stage = h("div", { class: "stage", "aria-busy": "true" });
  private readonly age = new Age();
  private readonly poll: Poll;

  constructor(
    private readonly navigation: Navigation,
    private readonly signedOut: () => void,
    put: (page: ListPage) => void,
  ) {
    const head = h("div", { class: "list-head" }, h("h1", {}, "Endpoints"), this.age.element);
    this.element = h("main", { class: "page", id: "main" }, head, this.banner.element, this.pauses.element, this.stage);
    put(this);
    this.poll = new Poll(this);
  }

  destroy(): void {
    this.poll.stop();
    this.age.destroy();
  }

  async load(_fresh: boolean, signal: AbortSignal): Promise<void> {
    const namespaces = await readNamespaces(signal);
    const found: Endpoints[] = [];
    for (let i = 0; i < namespaces.length; i += CONCURRENCY) {
      found.push(...(await Promise.all(namespaces.slice(i, i + CONCURRENCY).map((name) => readEndpoints(name, signal)))));
    }
    this.stage.setAttribute("aria-busy", "false");
    this.pauses.update(found[0]?.paused ?? []); // the same in every answer
    this.show(namespaces, found.filter(({ endpoints }) => endpoints.length));
  }

  pause(): number {
    return EVERY_S;
  }

  failed(error: ApiError, retryInSeconds: number): void {
    if (error.status === 401) this.signedOut();
    else this.banner.show(error, retryInSeconds);
    this.element.classList.add("is-stale");
  }

  succeeded(): void {
    this.banner.hide();
    this.element.classList.remove("is-stale");
  }

  private show(namespaces: string[], found: Endpoints[]): void {
    const newest = found.flatMap(({ endpoints }) => endpoints.map(({ newest_at }) => newest_at ?? 0));
    this.age.update(newest.length ? Math.max(...newest) || null : null);
    const focused = document.activeElement?.closest<HTMLElement>("[data-endpoint]")?.dataset.endpoint;
    this.stage.replaceChildren(...(found.length ? found.map((one) => this.group(one)) : [noEndpoints(namespaces)]));
    if (focused) this.stage.querySelector<HTMLElement>(`[data-endpoint="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
  }

  private group(list: Endpoints): HTMLElement {
    const over = `figures of the last ${duration(list.over_seconds)}, sparklines of the last ${duration(list.step * list.at.length)}`;
    return h(
      "section",
      { class: "namespace", "aria-label": `Namespace ${list.namespace}` },
      h("header", { class: "namespace-head" }, h("h2", {}, list.namespace), h("p", { class: "muted" }, over)),
      h("div", { class: "cards" }, ...list.endpoints.map((card) => this.card(list, card))),
    );
  }

  private card(list: Endpoints, card: EndpointCard): HTMLElement {
    const endpoint = { namespace: list.namespace, name: card.endpoint };
    const open = (event: MouseEvent): void => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.navigation.open(endpoint);
    };
    const link = h("a", { href: formatAddress({ ...DEFAULT_VIEW, endpoint }), onclick: open }, card.endpoint);
    const { requests, errors, p95, pending } = card.spark;
    const failed = errors.map((value, i) => quotient(value, requests[i] ?? null));
    // The last minute is incomplete: its count would look like a drop.
    const counted = requests.slice(0, -1);
    return h(
      "article",
      { class: "endpoint", "data-endpoint": `${list.namespace}/${card.endpoint}` },
      h("header", { class: "endpoint-head" }, h("h3", {}, link), running(card)),
      h(
        "dl",
        { class: "figures" },
        figure("Requests", rate(card.request_rate), counted, "c2xx"),
        figure("Errors", share(card.error_share), failed, "c5xx", 0.02),
        figure("p95", duration(card.p95_seconds), p95, "p95"),
        figure("Pending", amount(card.pending), pending, "pending", 1),
      ),
    );
  }
}

/** The quotient, or null if the whole is 0 or unknown. */
function quotient(part: number | null, whole: number | null): number | null {
  return part === null || !whole ? null : part / whole;
}

function running(card: EndpointCard): HTMLElement {
  const bounds = card.max_replicas === null ? "" : ` of ${count(card.max_replicas)}`;
  if (card.running === null || card.replicas === null) return unknown(card.unknown_since);
  const state = card.running > 0 ? "up" : card.replicas > 0 ? "starting" : "down";
  return h(
    "p",
    { class: `running running-${state}`, title: "Running replicas, of the maximum allowed" },
    h("span", { class: "running-dot", "aria-hidden": "true" }),
    h("strong", {}, count(card.running)),
    `${bounds} running`,
  );
}

/** Grey: the pipeline is behind, so it is unknown which replicas run. */
function unknown(since: number | null): HTMLElement {
  return h(
    "p",
    { class: "running running-unknown", title: "The pipeline is behind: data sent since then has not been read yet" },
    h("span", { class: "running-dot", "aria-hidden": "true" }),
    since === null ? "unknown" : `unknown since ${clock(since)}`,
  );
}

function figure(name: string, value: string, shape: (number | null)[], colour: string, top = 0): HTMLElement {
  const none = value === DASH ? " is-none" : "";
  return h(
    "div",
    { class: "figure", "data-figure": name },
    h("dt", {}, name),
    h("dd", { class: `figure-value${none}` }, value),
    h("dd", { class: "figure-shape" }, sparkline(shape, colour, top)),
  );
}
