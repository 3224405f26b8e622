// A row of buttons of which one is selected: a radio group with its arrow keys.

import { h } from "./dom.ts";

export class Segmented<T extends string> {
  readonly element: HTMLElement;
  private readonly buttons: HTMLButtonElement[];

  constructor(label: string, choices: readonly (readonly [T, string])[], chosen: (value: T) => void, kind = "segmented") {
    this.buttons = choices.map(([value, text]) =>
      h("button", { type: "button", role: "radio", "data-value": value, onclick: () => chosen(value) }, text),
    );
    this.element = h("div", { class: kind, role: "radiogroup", "aria-label": label }, ...this.buttons);
    this.element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const here = this.buttons.findIndex((button) => button === document.activeElement);
      const next = this.buttons[(here + step + this.buttons.length) % this.buttons.length]!;
      next.focus();
      next.click();
    });
  }

  set(value: T): void {
    for (const button of this.buttons) {
      const on = button.dataset.value === value;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    }
  }
}
