// Messages: a banner for errors, and a live region for screen readers.

import type { ApiError } from "./api.ts";
import { h, setText } from "./dom.ts";

const spoken = h("div", { class: "visually-hidden", "aria-live": "polite", id: "spoken" });
let timer = 0;

/** Announce a text to screen readers, once it has stopped changing. */
export function announce(text: string): void {
  clearTimeout(timer);
  timer = setTimeout(() => setText(spoken, text), 250);
}

/** A banner with the error, how to fix it, and the time of the next retry. */
export class Banner {
  readonly element = h("div", { class: "banner", role: "alert", hidden: true });
  private readonly countdown = h("span", { class: "banner-countdown", "aria-hidden": "true" });
  private timer = 0;

  constructor(private readonly retry: () => void) {}

  show(error: ApiError, retryInSeconds: number | null): void {
    const text = `${error.message} ${error.hint}`;
    if (this.element.hidden || this.element.dataset.text !== text) {
      this.element.dataset.text = text;
      const button = h("button", { type: "button", class: "button", onclick: this.retry }, "Retry now");
      this.element.replaceChildren(
        h("div", { class: "banner-text" }, h("strong", {}, error.message), " ", error.hint, " ", this.countdown),
        button,
      );
      this.element.hidden = false;
    }
    clearInterval(this.timer);
    if (retryInSeconds === null) return;
    const until = Date.now() + retryInSeconds * 1000;
    const tick = (): void => {
      const left = Math.ceil((until - Date.now()) / 1000);
      setText(this.countdown, left > 0 ? `Retrying in ${left} s.` : "Retrying …");
    };
    tick();
    this.timer = setInterval(tick, 500);
  }

  hide(): void {
    clearInterval(this.timer);
    this.element.hidden = true;
  }
}

export function spokenRegion(): HTMLElement {
  return spoken;
}
