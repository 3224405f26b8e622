// Signing in: exchanges a token for a cookie that scripts cannot read. The page stores neither.

import { ApiError, signIn } from "./api.ts";
import { h } from "./dom.ts";

export class SignInPage {
  readonly element: HTMLElement;
  private readonly token = h("input", {
    id: "token",
    type: "password",
    autocomplete: "current-password",
    spellcheck: "false",
    required: true,
    placeholder: "eat_…",
    "aria-describedby": "sign-in-error",
  });
  private readonly error = h("p", { class: "field-error", id: "sign-in-error", role: "alert" });
  private readonly button = h("button", { type: "submit", class: "button button-main" }, "Sign in");

  constructor(private readonly signedIn: () => void) {
    const submit = (event: Event): void => {
      event.preventDefault();
      void this.submit();
    };
    this.element = h(
      "main",
      { class: "sign-in", id: "main" },
      h(
        "form",
        { class: "card sign-in-card", onsubmit: submit },
        h("h1", {}, "Sign in"),
        h("p", { class: "muted" }, "Use the access token of your namespace, the same one that scrapes its metrics."),
        h("label", { for: "token" }, "Access token"),
        this.token,
        this.error,
        this.button,
        h("p", { class: "hint muted" }, "An operator creates one with ", h("code", {}, "endpoint-analytics token create"), "; ", h("code", {}, "make run"), " stores one in ", h("code", {}, "data/token"), "."),
      ),
    );
  }

  /** Focus the token field. */
  focus(): void {
    this.token.focus();
  }

  destroy(): void {}

  private async submit(): Promise<void> {
    this.error.textContent = "";
    this.button.disabled = true;
    try {
      await signIn(this.token.value.trim());
      this.signedIn();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.textContent = error.status === 401 ? "This token is unknown or was revoked." : `${error.message} ${error.hint}`;
      this.token.setAttribute("aria-invalid", "true");
      this.token.focus();
      this.token.select();
    } finally {
      this.button.disabled = false;
    }
  }
}
