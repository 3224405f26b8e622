// The colour of a class or a status: the class gives the hue, the status its shade. Pure.

const SHADES: Record<string, readonly string[]> = {
  "2": ["200", "201", "202", "204", "206"],
  "3": ["301", "302", "303", "304", "307", "308"],
  "4": ["400", "401", "403", "404", "408", "409", "413", "422", "429", "499"],
  "5": ["500", "501", "502", "503", "504"],
};
const SHADE_COUNT = 4;

/** A colour's name in the style sheet: c5xx, c5xx-1 for the second shade ... */
export function statusColour(name: string): string {
  if (name === "aborted") return "aborted";
  const first = name.charAt(0);
  if (name.endsWith("xx")) return `c${name}`;
  const place = SHADES[first]?.indexOf(name) ?? -1;
  const shade = (place >= 0 ? place : Number(name) || 0) % SHADE_COUNT;
  return shade ? `c${first}xx-${shade}` : `c${first}xx`;
}
