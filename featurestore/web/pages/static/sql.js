// SQL: names are offered as one types, and a link is copied. Views, columns and searches are read from the page itself.
const area = document.querySelector(".statement textarea");
const views = new Map(), structs = new Map(), searches = new Map();
for (const view of document.querySelectorAll("[data-view]")) {
  const columns = [...view.querySelectorAll("dt")].map((term) => {
    const name = term.querySelector("code").textContent;
    if (term.dataset.fields) structs.set(name, term.dataset.fields.split(" "));
    const comment = term.nextElementSibling?.matches("dd") ? term.nextElementSibling.textContent : term.lastChild.textContent.trim();
    return { text: name, note: comment };
  });
  views.set(view.dataset.view, columns);
}
for (const search of document.querySelectorAll("[data-search]")) {
  const { search: name, arguments: named, columns } = search.dataset;
  searches.set(name, {
    named: named.split(" ").map((text) => ({ text, after: " := ", note: `argument of ${name}` })),
    columns: columns.split(" ").map((text) => ({ text, note: `column of ${name}(…)` })),
    note: search.querySelector("p").textContent.split(". ")[0],
  });
}
const KEYWORDS = "SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT USING HAVING WITH AS AND OR NOT IN IS NULL BETWEEN LIKE CASE WHEN THEN ELSE END DISTINCT UNION ALL DESC ASC UNNEST".split(" ");
const FUNCTIONS = "count avg sum min max median quantile_cont arg_max arg_min list string_agg array_to_string list_contains len lower contains starts_with round abs log10 coalesce any_value row_number".split(" ");

// --- what can stand at the cursor

// The statement with comments and texts blanked, so that words in them are not taken for names.
const blank = (sql) => sql.replace(/--[^\n]*|\/\*[\s\S]*?(\*\/|$)|'(?:[^']|'')*('|$)/g, (part) => " ".repeat(part.length));

// Tables of the statement: the name or alias of each, and its columns.
function findTables(sql) {
  const tables = new Map();
  for (const [, name, call, alias] of sql.matchAll(/\b(?:from|join)\s+(\w+)\s*(\([^()]*(?:\([^()]*\)[^()]*)*\))?(?:\s+as)?\s*(\w+)?/gi)) {
    const columns = call ? searches.get(name.toLowerCase())?.columns : views.get(name.toLowerCase());
    if (!columns) continue;
    tables.set(name.toLowerCase(), columns);
    if (alias && !KEYWORDS.includes(alias.toUpperCase())) tables.set(alias.toLowerCase(), columns);
  }
  return tables;
}

// The search in whose brackets the cursor is, if it is.
function findCall(before) {
  let depth = 0;
  for (let n = before.length - 1; n >= 0; n--) {
    if (before[n] === ")") depth++;
    else if (before[n] === "(" && depth-- === 0) return searches.get(before.slice(0, n).match(/(\w+)\s*$/)?.[1].toLowerCase());
  }
}

let dictionaries; // asked for when a text is begun
function loadDictionaries() {
  dictionaries = [];
  fetch("/v1/dictionaries").then((answer) => answer.json()).then((answer) => {
    dictionaries = (answer.dictionaries || []).map((each) => ({ text: each.dictionary, note: `${each.d_sae.toLocaleString()} features` }));
    if (document.activeElement === area) open(false);
  }).catch(() => {});
}

// What may follow, and how many characters before the cursor it replaces.
function suggest() {
  const end = area.selectionStart, whole = area.value, before = whole.slice(0, end);
  const quoted = before.match(/^(?:[^'-]|-(?!-)|--[^\n]*(?:\n|$)|'(?:[^']|'')*'(?!'))*'([^'\n]*)$/);
  if (quoted) {
    if (!dictionaries) loadDictionaries();
    return { typed: quoted[1], offered: [...dictionaries, ...["live", "dead", "always-on", "unharvested"].map((text) => ({ text, note: "state" }))] };
  }
  const sql = blank(whole), clean = sql.slice(0, end);
  if (before.length && clean[end - 1] === " " && before[end - 1] !== " ") return null; // in a comment
  const tables = findTables(sql);
  const member = clean.match(/(\w+)(?:\[[^\]]*\])?\.(\w*)$/);
  if (member) {
    const fields = structs.get(member[1].toLowerCase())?.map((text) => ({ text, note: `of ${member[1]}` }));
    return { typed: member[2], offered: tables.get(member[1].toLowerCase()) || fields || [] };
  }
  const typed = clean.match(/\w*$/)[0];
  if (/^\d/.test(typed)) return null;
  const offered = [];
  const sources = [
    ...[...views.keys()].map((text) => ({ text, note: "view" })),
    ...[...searches].map(([text, search]) => ({ text, after: "('", note: search.note })),
  ];
  if (/\b(from|join|describe|summarize)\s+\w*$/i.test(clean)) return { typed, offered: sources };
  offered.push(...(findCall(clean)?.named || []));
  const columns = new Map();
  for (const list of tables.size ? tables.values() : [views.get("features") || []])
    for (const column of list) if (!columns.has(column.text)) columns.set(column.text, column);
  offered.push(...columns.values(), ...sources, ...KEYWORDS.map((text) => ({ text, note: "" })), ...FUNCTIONS.map((text) => ({ text, after: "(", note: "function" })));
  return { typed, offered };
}

// --- the list

const list = Object.assign(document.createElement("ul"), { id: "completions", className: "completions", hidden: true });
list.setAttribute("role", "listbox");
list.setAttribute("aria-label", "Names that can stand here");
const status = Object.assign(document.createElement("span"), { className: "unseen" });
status.setAttribute("role", "status");
area.after(list, status);
area.setAttribute("aria-autocomplete", "list");
area.setAttribute("aria-haspopup", "listbox");
const SEEN = 9; // names at once; the list does not scroll, the arrow keys move through it
let typed = "", offers = [], chosen = -1, begin = 0;

function show() {
  [...list.children].forEach((item, n) => {
    item.setAttribute("aria-selected", String(n === chosen));
    item.hidden = n < begin || n >= begin + SEEN;
  });
}

function close() {
  list.hidden = true;
  offers = [];
  chosen = -1;
  area.removeAttribute("aria-activedescendant");
  area.removeAttribute("aria-controls");
  status.textContent = "";
}

function choose(number) {
  chosen = (number + offers.length) % offers.length;
  begin = Math.min(Math.max(begin, chosen - SEEN + 1), chosen);
  show();
  area.setAttribute("aria-activedescendant", `completion-${chosen}`);
}

// Where the cursor is, in pixels from the corner of the textarea: measured on a copy of its text.
function findCursor() {
  const copy = document.createElement("div"), style = getComputedStyle(area), mark = document.createElement("span");
  for (const name of ["font", "lineHeight", "padding", "border", "letterSpacing", "tabSize"]) copy.style[name] = style[name];
  Object.assign(copy.style, { position: "absolute", visibility: "hidden", whiteSpace: "pre-wrap", overflowWrap: "break-word", width: `${area.clientWidth}px`, boxSizing: "border-box" });
  copy.textContent = area.value.slice(0, area.selectionStart);
  mark.textContent = "x";
  copy.append(mark);
  area.parentElement.append(copy);
  const place = { left: mark.offsetLeft, top: mark.offsetTop + mark.offsetHeight - area.scrollTop };
  copy.remove();
  return place;
}

function open(asked) {
  const found = area.selectionStart === area.selectionEnd ? suggest() : null;
  if (!found || (!asked && !found.typed && !/[.'(]$/.test(area.value.slice(0, area.selectionStart)))) return close();
  typed = found.typed;
  const word = typed.toLowerCase(), name = (offer) => offer.text.toLowerCase().replace(/^"/, "");
  const starting = found.offered.filter((offer) => name(offer).startsWith(word));
  offers = [...starting, ...found.offered.filter((offer) => word && !starting.includes(offer) && name(offer).includes(word))];
  offers = offers.filter((offer, n) => offers.findIndex((other) => other.text === offer.text) === n).slice(0, 40);
  if (!offers.length || (!asked && offers.some((offer) => name(offer) === word))) return close();
  list.replaceChildren(...offers.map((offer, n) => {
    const item = document.createElement("li"), code = document.createElement("code"), note = document.createElement("span");
    item.id = `completion-${n}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    code.textContent = offer.text;
    note.className = "quiet";
    note.textContent = offer.note;
    item.append(code, note);
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); accept(n); });
    return item;
  }));
  list.hidden = false;
  const place = findCursor();
  list.style.top = `${place.top + 2}px`;
  list.style.left = `${Math.max(0, Math.min(place.left, area.clientWidth - list.offsetWidth))}px`;
  chosen = -1;
  begin = 0;
  show();
  area.removeAttribute("aria-activedescendant");
  area.setAttribute("aria-controls", "completions");
  status.textContent = `${offers.length} names: arrow keys choose, Tab takes the first`;
  if (asked) choose(0);
}

function accept(number) {
  const offer = offers[number], after = offer.after || "";
  close();
  area.focus();
  area.setSelectionRange(area.selectionStart - typed.length, area.selectionEnd);
  // Unlike a change of the value, this can be undone with Ctrl-Z.
  if (!document.execCommand("insertText", false, offer.text + after)) area.setRangeText(offer.text + after, area.selectionStart, area.selectionEnd, "end");
  if (!after) close();
}

area.addEventListener("input", () => open(false));
area.addEventListener("blur", close);
area.addEventListener("click", close);
area.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === " " && event.ctrlKey) open(true);
  else if (list.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "ArrowDown") choose(chosen + 1);
  else if (event.key === "ArrowUp") choose(chosen < 0 ? offers.length - 1 : chosen - 1);
  else if (event.key === "Escape") close();
  else if (event.key === "Tab" && !event.shiftKey) accept(Math.max(chosen, 0));
  else if (event.key === "Enter" && chosen >= 0) accept(chosen);
  else {
    if (["ArrowLeft", "ArrowRight", "Home", "End", "Enter"].includes(event.key)) close();
    return;
  }
  event.preventDefault();
});
for (const element of document.querySelectorAll(".scripted")) element.hidden = false;

// --- sharing

document.querySelector("[data-share]")?.addEventListener("click", async (event) => {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(location.href.replace(/#.*/, ""));
    button.textContent = "Link copied";
  } catch {
    button.textContent = "Copy the address above"; // a page without https may not write to the clipboard
  }
});
