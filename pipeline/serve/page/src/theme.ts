// Light or dark: the system's preference until the user chooses; the choice is stored in the browser.

const KEY = "endpoint-analytics-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];

export type Theme = "light" | "dark";

function chosen(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null; // storage may be blocked
  }
}

export function theme(): Theme {
  return (document.documentElement.dataset.theme as Theme | undefined) ?? (system.matches ? "dark" : "light");
}

/** Apply the chosen theme, or follow the system if none is chosen. */
export function startTheme(): void {
  const choice = chosen();
  if (choice) document.documentElement.dataset.theme = choice;
  system.addEventListener("change", notify);
}

export function toggleTheme(): void {
  const next: Theme = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // the choice then lasts for this page only
  }
  notify();
}

/** Call `listener` whenever the colours change; returns how to stop. */
export function onTheme(listener: () => void): () => void {
  listeners.push(listener);
  return () => listeners.splice(listeners.indexOf(listener), 1);
}

function notify(): void {
  for (const listener of [...listeners]) listener();
}

/** The value of a style sheet colour, for canvases, which cannot resolve CSS variables. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
