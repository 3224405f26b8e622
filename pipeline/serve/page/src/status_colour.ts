// The colour of a status or its class: the class sets the hue, the rank within the class the shade. Pure.

const SHADES = 4;

/** The colour name in the style sheet: c5xx, c5xx-1 for the second 5xx status shown, and so on. */
export function statusColour(name: string, all: readonly string[]): string {
  if (name === "aborted") return "aborted";
  const first = name.charAt(0);
  if (name.endsWith("xx")) return `c${name}`;
  const kin = all.filter((other) => other.charAt(0) === first && other !== "aborted").sort();
  const shade = kin.indexOf(name) % SHADES;
  return shade ? `c${first}xx-${shade}` : `c${first}xx`;
}
