/** Text in rows of a fixed number of monospaced columns, so that any row's place is known without drawing it. */

const TAB = 4;
// Scripts whose characters take two columns of a monospaced font, and emoji.
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\ud83c-\ud83e][\udc00-\udfff]/;
const SIMPLE = /^[\x20-\x7e]*$/;

/** How many rows the text takes; an empty text takes one. */
export function rowCount(text, columns) {
  if (text.length <= columns && SIMPLE.test(text)) return 1;
  let rows = 0;
  for (const line of text.split("\n")) rows += lineRows(line, columns);
  return rows;
}

/** The text of each row. */
export function rows(text, columns) {
  return text.split("\n").flatMap((line) => split(line, columns));
}

function lineRows(line, columns) {
  if (!SIMPLE.test(line)) return split(line, columns).length;
  let rows = 1;
  for (let at = 0; line.length - at > columns; rows += 1) at = nextRow(line, at, columns);
  return rows;
}

/** Where the row after the one at `at` begins: after the last space that fits, or in the middle of a long word. */
function nextRow(line, at, columns) {
  const full = at + columns;
  if (line[full] === " ") return full + 1;
  for (let end = full - 1; end > at; end -= 1) if (line[end] === " ") return end + 1;
  return full;
}

function split(line, columns) {
  const expanded = line.includes("\t") ? line.replaceAll("\t", " ".repeat(TAB)) : line;
  const simple = SIMPLE.test(expanded);
  const parts = [];
  let at = 0;
  for (;;) {
    const fits = simple ? columns : fitting(expanded.slice(at, at + columns + 1), columns);
    if (expanded.length - at <= fits) break;
    const next = nextRow(expanded, at, fits);
    parts.push(expanded.slice(at, Math.min(next, at + fits)));
    at = next;
  }
  parts.push(expanded.slice(at));
  return parts;
}

/** How many UTF-16 units of the text fit into the columns; at least one character. */
function fitting(text, columns) {
  let width = 0;
  let units = 0;
  for (const character of text) {
    width += WIDE.test(character) ? 2 : 1;
    if (width > columns && units) break;
    units += character.length;
  }
  return units;
}
