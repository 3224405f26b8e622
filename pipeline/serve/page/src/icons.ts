// The icons of buttons, as paths on a 16 by 16 grid; they take the colour of the text.

import { svg } from "./dom.ts";

const PATHS = {
  back: "M9.5 3.5 5 8l4.5 4.5",
  moon: "M13 9.6A5.4 5.4 0 0 1 6.4 3 5.4 5.4 0 1 0 13 9.6Z",
  out: "M6.5 3H4a1 1 0 0 0-1 1v8a1 1 0 0 0 1 1h2.5M10 5l3 3-3 3M13 8H6.5",
  link: "M6.8 9.2 9.2 6.8M7.4 4.9l1-1a2.6 2.6 0 0 1 3.7 3.7l-1 1M8.6 11.1l-1 1a2.6 2.6 0 0 1-3.7-3.7l1-1",
  chevron: "M6 4l4 4-4 4",
} as const;

export function icon(name: keyof typeof PATHS): SVGElement {
  const path = svg("path", {
    d: PATHS[name],
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 1.6,
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, path);
}
