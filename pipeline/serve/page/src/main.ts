// The entry point: opens one of the three views, and handles the keys that work everywhere.

import { ApiError, signOut } from "./api.ts";
import type { View } from "./address.ts";
import { EndpointPage } from "./endpoint_page.ts";
import { ListPage } from "./list_page.ts";
import { Navigation } from "./navigation.ts";
import { Banner, spokenRegion } from "./notice.ts";
import { Shell } from "./shell.ts";
import { SignInPage } from "./sign_in.ts";
import { startTheme } from "./theme.ts";

startTheme();
const navigation = new Navigation();
const shell = new Shell({ home: () => navigation.open(null), signOut: () => void leave() });
const body = document.createElement("div");
const stillSignedIn = new Banner(() => void leave());
document.getElementById("app")!.replaceChildren(shell.element, stillSignedIn.element, body, spokenRegion());
let page: EndpointPage | ListPage | SignInPage | null = null;

function put(next: EndpointPage | ListPage | SignInPage): void {
  body.replaceChildren(next.element);
}

/** Open the view; each view finds out for itself whether the user is signed in. */
function open(): void {
  page?.destroy();
  shell.show(navigation.view);
  // A page measures its elements when it queries data, so it is attached first.
  page = navigation.view.endpoint ? new EndpointPage(navigation, requestToken, put) : new ListPage(navigation, requestToken, put);
}

function requestToken(): void {
  page?.destroy();
  shell.show(null);
  const form = new SignInPage(open);
  page = form;
  put(form);
  form.focus();
}

async function leave(): Promise<void> {
  try {
    await signOut();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    stillSignedIn.show(new ApiError(error.status, "You are still signed in.", `${error.message} ${error.hint}`), null);
    return;
  }
  stillSignedIn.hide();
  navigation.open(null);
  requestToken();
}

function sameEndpoint(a: View, b: View): boolean {
  return a.endpoint?.namespace === b.endpoint?.namespace && a.endpoint?.name === b.endpoint?.name;
}

navigation.listen((view, before) => {
  if (page instanceof SignInPage) return;
  if (page instanceof EndpointPage && sameEndpoint(view, before)) page.changed(view, before);
  else if (!sameEndpoint(view, before)) open();
});

addEventListener("keydown", (event) => {
  if (event.key !== "Backspace" && event.key !== "Escape") return;
  const typing = event.target instanceof HTMLElement && event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing || !(page instanceof EndpointPage) || !navigation.canGoBack) return;
  event.preventDefault();
  navigation.back();
});

// Canvases can use the page's font only once it is loaded.
void document.fonts.ready.then(() => dispatchEvent(new Event("resize")));

open();
