// @ts-check
// A figure: a drawing with its title, a switch that shows its numbers as a table, and buttons that save it.
import { element } from "./elements.js";

/**
 * @typedef {object} Table
 * @property {string[]} head
 * @property {string[][]} rows
 */

/**
 * @typedef {object} Figure
 * @property {HTMLElement} node
 * @property {SVGSVGElement} svg
 * @property {() => number} width           of the drawing, in CSS pixels
 * @property {(text: string) => void} tell  what the drawing shows, for those who do not see it, and below it
 * @property {() => void} refresh           the table, where it is shown
 * @property {() => boolean} tabled
 * @property {() => void} close
 */

const SVG = "http://www.w3.org/2000/svg";

/** What of a style makes a drawing look as it does, as attributes that any program reads. */
const DRAWN = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap",
  "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "font-style", "text-anchor",
  "dominant-baseline", "paint-order", "visibility", "image-rendering",
];

/** How many pixels of a picture stand for one of the screen. */
const PICTURE_SCALE = 2;

/** Figures are numbered, so that a test can tell them apart. */
let figureCount = 0;

/**
 * An empty figure in `host`. `table` is asked for the numbers whenever they are to be seen; `drawn` is told when the
 * width has changed, and the drawing is to be made anew.
 *
 * @param {HTMLElement} host
 * @param {{title: string, file: string, table: () => Table, drawn: () => void}} given
 * @returns {Figure}
 */
export function makeFigure(host, { title, file, table, drawn }) {
  const name = `figure-${(figureCount += 1)}`;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const note = element("p", { class: "figure-note" });
  const numbers = element("div", { class: "figure-table", tabindex: "0", role: "region", "aria-label": `${title}, as a table` });
  numbers.hidden = true;
  const asTable = element("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "table");
  asTable.title = "show the numbers as a table";
  const asSvg = element("button", { type: "button", class: "quiet", "aria-label": `save as SVG: ${title}` }, "SVG");
  const asPng = element("button", { type: "button", class: "quiet", "aria-label": `save as PNG: ${title}` }, "PNG");
  asTable.setAttribute("aria-label", `table of: ${title}`);
  const tools = element("span", { class: "figure-tools" }, asTable, asSvg, asPng);
  const head = element("figcaption", {}, element("span", { class: "figure-title" }, title), tools);
  const frame = element("div", { class: "figure-drawing" }, svg);
  const node = element("figure", { class: "figure", "data-figure": file, "data-number": name }, head, frame, numbers, note);
  host.append(node);

  function fill() {
    if (!numbers.hidden) numbers.replaceChildren(tableOf(table(), title));
  }
  asTable.addEventListener("click", () => {
    numbers.hidden = !numbers.hidden;
    frame.hidden = !numbers.hidden;
    asTable.setAttribute("aria-pressed", String(!numbers.hidden));
    fill();
    if (!frame.hidden) drawn();
  });
  asSvg.addEventListener("click", () => save(`${file}.svg`, new Blob([svgText(svg, node)], { type: "image/svg+xml" })));
  asPng.addEventListener("click", async () => save(`${file}.png`, await pngOf(svg, node)));

  let wide = 0;
  const sized = new ResizeObserver(() => {
    const now = Math.round(frame.clientWidth);
    if (now && now !== wide) {
      wide = now;
      drawn();
    }
  });
  sized.observe(frame);

  return {
    node,
    svg,
    width: () => wide || Math.round(frame.clientWidth) || 600,
    tell(text) {
      note.textContent = text;
      svg.setAttribute("aria-label", `${title}. ${text}`);
    },
    refresh: fill,
    tabled: () => !numbers.hidden,
    close: () => sized.disconnect(),
  };
}

/**
 * @param {Table} table
 * @param {string} title
 */
function tableOf({ head, rows }, title) {
  return element(
    "table",
    {},
    element("caption", {}, title),
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element(
      "tbody",
      {},
      ...rows.map(([first, ...rest]) =>
        element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((text) => element("td", {}, text))),
      ),
    ),
  );
}

/**
 * A drawing of the page as the text of an SVG file that needs no style sheet.
 *
 * @param {SVGSVGElement} svg
 * @param {Element} paper  whose background it has
 * @returns {string}
 */
export function svgText(svg, paper) {
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  const box = svg.viewBox.baseVal;
  const size = box && box.width ? box : svg.getBoundingClientRect();
  styleAs(svg, copy);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", String(size.width));
  copy.setAttribute("height", String(size.height));
  copy.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const ground = document.createElementNS(SVG, "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", backgroundOf(paper));
  copy.prepend(ground);
  const label = svg.getAttribute("aria-label");
  if (label) {
    const title = document.createElementNS(SVG, "title");
    title.textContent = label;
    copy.prepend(title);
  }
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

/**
 * Write onto a copy what the style sheet does to the original; what is not to be seen is left out.
 *
 * @param {Element} from
 * @param {Element} to
 */
function styleAs(from, to) {
  const style = getComputedStyle(from);
  for (const name of DRAWN) {
    const value = style.getPropertyValue(name);
    if (value) to.setAttribute(name, value);
  }
  to.removeAttribute("class");
  to.removeAttribute("style");
  to.removeAttribute("tabindex");
  const gone = [];
  for (let i = 0; i < from.children.length; i += 1) {
    if (getComputedStyle(from.children[i]).display === "none") gone.push(to.children[i]);
    else styleAs(from.children[i], to.children[i]);
  }
  gone.forEach((one) => one.remove());
}

/**
 * The colour behind an element: that of the nearest one that has any.
 *
 * @param {Element | null} at
 * @returns {string}
 */
function backgroundOf(at) {
  for (; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (color && color !== "transparent" && !/, 0\)$|\/ 0\)$/.test(color)) return color;
  }
  return "white";
}

/**
 * @param {SVGSVGElement} svg
 * @param {Element} paper
 * @returns {Promise<Blob>}
 */
async function pngOf(svg, paper) {
  const text = svgText(svg, paper);
  const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(picture.naturalWidth * PICTURE_SCALE);
    canvas.height = Math.ceil(picture.naturalHeight * PICTURE_SCALE);
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.scale(PICTURE_SCALE, PICTURE_SCALE);
    pen.drawImage(picture, 0, 0);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the picture could not be made"))), "image/png"),
    );
  } finally {
    URL.revokeObjectURL(address);
  }
}

/**
 * @param {string} name
 * @param {Blob} content
 */
function save(name, content) {
  const address = URL.createObjectURL(content);
  const link = element("a", { href: address, download: name });
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
