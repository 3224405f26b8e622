// Light or dark: as the system says until a person chooses, and then as chosen on this machine.

const KEY = "endpoint-analytics-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];

export type Theme = "light" | "dark";

function chosen(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null; // storage may be forbidden
  }
}

export function theme(): Theme {
  return (document.documentElement.dataset.theme as Theme | undefined) ?? (system.matches ? "dark" : "light");
}

/** Put on the chosen theme, and follow the system where none is chosen. */
export function startTheme(): void {
  const choice = chosen();
  if (choice) document.documentElement.dataset.theme = choice;
  system.addEventListener("change", tell);
}

export function toggleTheme(): void {
  const next: Theme = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // it holds for this page then
  }
  tell();
}

/** Call `listener` whenever colours change. */
export function onTheme(listener: () => void): () => void {
  listeners.push(listener);
  return () => listeners.splice(listeners.indexOf(listener), 1);
}

function tell(): void {
  for (const listener of [...listeners]) listener();
}

/** The value of a colour of the style sheet, for canvases, which cannot read it themselves. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
