// Reads a JSON list of texts from standard input, and prints for each of them
// the HTML that each renderer makes of it, by the renderer's name.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import marked from "marked";
import { marked as gfm } from "marked-now";

const require = createRequire(import.meta.url);
const slack = require("slack-markdown");

function commonmark(name) {
  const { Parser, HtmlRenderer } = require(name);
  return (text) => new HtmlRenderer().render(new Parser().parse(text));
}

// In "mattermost browser" stands the last release of marked with the inline
// grammar that Mattermost's fork started from.
const renderers = {
  "mattermost browser": (text) => marked(text, { gfm: true, breaks: true, tables: true, sanitize: true, mangle: false }),
  "mattermost app": commonmark("@mattermost/commonmark"),
  commonmark: commonmark("commonmark"),
  gfm: (text) => gfm.parse(text, { gfm: true }),
  slack: (text) => slack.toHTML(text),
};

const texts = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(texts.map((text) =>
  Object.fromEntries(Object.entries(renderers).map(([name, render]) => [name, render(text)])))));
