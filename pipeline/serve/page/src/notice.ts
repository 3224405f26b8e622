// What the page says in words: a banner for what is wrong, and a quiet region that screen readers speak.

import type { ApiError } from "./api.ts";
import { h, setText } from "./dom.ts";

const spoken = h("div", { class: "visually-hidden", "aria-live": "polite", id: "spoken" });
let timer = 0;

/** Have a screen reader say this, once what changes quickly has come to rest. */
export function announce(text: string): void {
  clearTimeout(timer);
  timer = setTimeout(() => setText(spoken, text), 250);
}

/** A banner that says what is wrong, how to fix it, and when the page tries again. */
export class Banner {
  readonly element = h("div", { class: "banner", role: "alert", hidden: true });
  private readonly countdown = h("span", { class: "banner-countdown", "aria-hidden": "true" });
  private timer = 0;

  constructor(private readonly retry: () => void) {}

  show(error: ApiError, retryInSeconds: number | null): void {
    const said = `${error.message} ${error.hint}`;
    if (this.element.hidden || this.element.dataset.said !== said) {
      this.element.dataset.said = said;
      const button = h("button", { type: "button", class: "button", onclick: this.retry }, "Try now");
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
      setText(this.countdown, left > 0 ? `Next try in ${left} s.` : "Trying …");
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
