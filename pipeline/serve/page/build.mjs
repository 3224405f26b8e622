// Bundles the page into dist/: files with hashed names, a .gz of each, and the licences of bundled packages.
// Only the build belongs here; build_page.py at the root finds a Node to run it.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const page = dirname(fileURLToPath(import.meta.url));
const root = join(page, "..", "..", "..");
const dist = join(page, "dist");
const SHIPPED = ["uplot", "@fontsource-variable/inter"];

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);

const result = await build({
  absWorkingDir: page,
  entryPoints: { app: "src/main.ts", style: "style/main.css" },
  outdir: "dist",
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  charset: "utf8",
  loader: { ".woff2": "file" },
  legalComments: "none", // they are in licences.txt in full
  nodePaths: [join(root, "node_modules")],
  metafile: true,
  logLevel: "warning",
});

const outputs = Object.keys(result.metafile.outputs).map((path) => basename(path));
const named = (/** @type {RegExp} */ pattern) => {
  const found = outputs.find((name) => pattern.test(name));
  if (!found) throw new Error(`no output matches ${pattern}`);
  return found;
};

const icon = readFileSync(join(page, "icon.svg"));
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
writeFileSync(join(dist, iconName), icon);

const html = readFileSync(join(page, "index.html"), "utf8")
  .replace("{{style}}", `assets/${named(/^style-.*\.css$/)}`)
  .replace("{{script}}", `assets/${named(/^app-.*\.js$/)}`)
  .replace("{{font}}", `assets/${named(/^inter-.*\.woff2$/)}`)
  .replace("{{icon}}", `assets/${iconName}`);
writeFileSync(join(dist, "index.html"), html);

const licences = SHIPPED.map((name) => {
  const directory = join(root, "node_modules", name);
  const { version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(directory, "LICENSE"), "utf8").trim()}\n`;
});
writeFileSync(join(dist, "licences.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));

for (const name of readdirSync(dist)) {
  if (name.endsWith(".woff2")) continue; // already compressed
  writeFileSync(join(dist, `${name}.gz`), gzipSync(readFileSync(join(dist, name)), { level: 9 }));
}
