// The colour of a class or a status: the class gives the hue, the place among its statuses the shade. Pure.

const SHADES = 4;

/** A colour's name in the style sheet: c5xx, c5xx-1 for the second of the 5xx that are there ... */
export function statusColour(name: string, all: readonly string[]): string {
  if (name === "aborted") return "aborted";
  const first = name.charAt(0);
  if (name.endsWith("xx")) return `c${name}`;
  const kin = all.filter((other) => other.charAt(0) === first && other !== "aborted").sort();
  const shade = kin.indexOf(name) % SHADES;
  return shade ? `c${first}xx-${shade}` : `c${first}xx`;
}
