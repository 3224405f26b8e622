// The frame around every view: the link to the list, the theme, signing out.

import type { View } from "./address.ts";
import { h, setProps } from "./dom.ts";
import { icon } from "./icons.ts";
import { theme, toggleTheme } from "./theme.ts";

export interface ShellEvents {
  home(): void;
  signOut(): void;
}

export class Shell {
  readonly element: HTMLElement;
  private readonly where = h("span", { class: "crumbs" });
  private readonly out: HTMLButtonElement;
  private readonly themeButton: HTMLButtonElement;

  constructor(private readonly events: ShellEvents) {
    const home = h("a", { href: "?", class: "brand", onclick: (event: MouseEvent) => this.home(event) });
    home.append(h("span", { class: "brand-mark", "aria-hidden": "true" }), h("span", { class: "brand-name" }, "Endpoint Analytics"));
    this.themeButton = h("button", { type: "button", class: "button button-quiet", id: "theme", onclick: () => this.toggle() }, icon("moon"));
    this.out = h("button", { type: "button", class: "button button-quiet", id: "sign-out", onclick: () => events.signOut() }, icon("out"), h("span", { class: "wide" }, "Sign out"));
    this.out.setAttribute("aria-label", "Sign out");
    const skip = h("a", { href: "#main", class: "skip", onclick: (event: MouseEvent) => this.skip(event) }, "Skip to the graphs");
    this.element = h("header", { class: "shell" }, skip, home, this.where, h("div", { class: "shell-end" }, this.themeButton, this.out));
    this.labelTheme();
  }

  show(view: View | null): void {
    this.out.hidden = view === null;
    const { endpoint } = view ?? {};
    this.where.replaceChildren();
    document.title = endpoint ? `${endpoint.namespace}/${endpoint.name} · Endpoint Analytics` : "Endpoint Analytics";
    if (!endpoint) return;
    this.where.append(
      icon("chevron"),
      h("span", { class: "muted crumb-namespace" }, `${endpoint.namespace} /`),
      h("h1", { class: "crumb" }, endpoint.name),
    );
  }

  private home(event: MouseEvent): void {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.events.home();
  }

  private skip(event: MouseEvent): void {
    event.preventDefault();
    const main = document.getElementById("main");
    main?.querySelector<HTMLElement>(".plot, .endpoint a, input, button")?.focus();
  }

  private toggle(): void {
    toggleTheme();
    this.labelTheme();
  }

  private labelTheme(): void {
    const other = theme() === "dark" ? "light" : "dark";
    setProps(this.themeButton, { "aria-label": `Use ${other} colours`, title: `Use ${other} colours` });
  }
}
