"use strict";
// A site of features: data are read a block at a time from a web host, and as whole scripts from a folder. Texts of the
// store are only ever set as text.

const FROM_FOLDER = location.protocol === "file:";
const RANKED = 200;      // of each ranking, before they are fused
const SHOWN = 50;        // in a list
const FUSED = 60;        // of reciprocal rank fusion
const scripts = new Map();
const wanted = new Map();

function receive(name, text) { wanted.get(name)?.(text); }

function loadScript(name) {
  if (!scripts.has(name)) {
    scripts.set(name, new Promise((resolve, reject) => {
      wanted.set(name, text => { wanted.delete(name); resolve(text); });
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onerror = () => { scripts.delete(name); reject(new Error(`data/${name}.js could not be loaded`)); };
      document.head.append(script);
    }));
  }
  return scripts.get(name);
}

function fromBase64(text) { return Uint8Array.from(atob(text), letter => letter.charCodeAt(0)); }

async function unpack(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// What failed once is asked for again the next time.
function forgetFailure(kept, key, promise) {
  promise.catch(() => kept.delete(key));
  return promise;
}

const loadWhole = (known => name => {
  if (!known.has(name)) known.set(name, forgetFailure(known, name, loadScript(name).then(unpack)));
  return known.get(name);
})(new Map());

// The blocks of features that were read last.
const blocks = new Map();

async function readBlock(file, number) {
  const key = `${file.name}/${number}`;
  if (!blocks.has(key)) {
    if (blocks.size > 40) blocks.delete(blocks.keys().next().value);
    blocks.set(key, forgetFailure(blocks, key, readBytes(file, file.places[number], file.places[number + 1]).then(unpack)));
  }
  return blocks.get(key);
}

async function readBytes(file, begin, end) {
  if (!FROM_FOLDER && !scripts.has(file.name)) {
    const answer = await fetch(`data/${file.name}.js`, { headers: { Range: `bytes=${begin}-${end - 1}` } });
    const text = answer.ok ? await answer.text() : "";
    if (answer.status === 206 && text.length === end - begin) return text;
    if (answer.status === 200 && text.startsWith("receive(")) {   // a host without range requests
      scripts.set(file.name, Promise.resolve(text.slice(file.places[0])));
    }
  }
  const text = await loadScript(file.name);   // without the call around it
  return text.slice(begin - file.places[0], end - file.places[0]);
}

function findBlock(dictionary, feature) {
  for (const file of dictionary.files) {
    const after = file.first.findIndex(first => first > feature);
    const number = (after < 0 ? file.first.length : after) - 1;
    if (number >= 0 && (after >= 0 || file === dictionary.files.at(-1) || dictionary.files[dictionary.files.indexOf(file) + 1].first[0] > feature)) {
      return [file, number];
    }
  }
  return null;
}

// The first feature behind a block. A site may have chosen features, whose numbers have gaps.
function findNext(dictionary, [file, number]) {
  return file.first[number + 1] ?? dictionary.files[dictionary.files.indexOf(file) + 1]?.first[0];
}

// The record of a feature, and the features of the site before and after it; undefined where there is none.
async function readFeature(dictionary, feature) {
  const place = findBlock(dictionary, feature);
  const records = place ? await readBlock(...place) : [];
  const at = records.findIndex(record => record.feature === feature);
  if (at < 0) return { record: null };
  const earlier = at ? null : findBlock(dictionary, feature - 1);
  return {
    record: records[at],
    before: at ? records[at - 1].feature : earlier ? (await readBlock(...earlier)).at(-1).feature : undefined,
    after: records[at + 1]?.feature ?? findNext(dictionary, place),
  };
}

// Elements: no HTML is ever made from texts.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

function drawBars([edges, counts], words) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const most = Math.max(...counts);
  drawing.setAttribute("class", "bars");
  drawing.setAttribute("viewBox", `0 0 ${counts.length} 100`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${words}, from ${edges[0]} to ${edges.at(-1)}`);
  counts.forEach((count, at) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = 100 * Math.sqrt(count / most);
    for (const [name, value] of Object.entries({ x: at + 0.05, width: 0.9, y: 100 - height, height })) bar.setAttribute(name, value);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = `${edges[at]} to ${edges[at + 1]}: ${count}`;
    bar.append(title);
    drawing.append(bar);
  });
  return make("div", {}, drawing, make("p", { class: "quiet" }, `${words}: ${edges[0]} to ${edges.at(-1)}`));
}

const show = value => value === undefined || value === null ? "–" : typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : value;
const visible = token => token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·");

function makeTable(head, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map(text => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(cells => make("tr", {}, ...cells.map(cell => cell instanceof Node ? make("td", {}, cell) : make("td", typeof cell === "number" ? { class: "number" } : {}, show(cell)))))));
}

function linkFeature(dictionary, feature, text) {
  return make("a", { href: `#${encodeURI(dictionary.dictionary)}/${feature}` }, text);
}

// A feature's page.
async function showFeature(dictionary, feature) {
  const { record, before, after } = await readFeature(dictionary, feature);
  const id = `${dictionary.dictionary}/${feature}`;
  if (!record) return page(id, make("p", {}, `This site has no feature ${id}.`));
  const parts = [make("h1", {}, record.label ?? "no label"), make("p", { class: "id" }, id)];
  const facts = { state: record.state, density: record.density, "active tokens": record.active_tokens, "mean activation": record.mean_activation, "max activation": record.max_activation, "decoder norm": record.decoder_norm };
  parts.push(makeTable(Object.keys(facts), [Object.values(facts)]));
  if (record.labels) parts.push(make("h2", {}, "Labels"), makeTable(["label", "by"], record.labels.map(([text, explainer]) => [text, explainer])));
  if (record.scores) parts.push(make("h2", {}, "Scores"), makeTable(["method", "value", "judgements", "judge"], record.scores.map(score => score.slice(0, 4))));
  const charts = make("div", { class: "columns" });
  if (record.histogram) charts.append(drawBars(record.histogram, "active tokens by activation"));
  if (record.logit_histogram) charts.append(drawBars(record.logit_histogram, "tokens by effect on their logits"));
  const effects = make("div", { class: "columns" });
  for (const [title, name] of [["Raises", "raises"], ["Lowers", "lowers"]]) {
    if (record[name]) effects.append(make("div", {}, make("h2", {}, title), makeTable(["token", "effect"], record[name].map(([token, value]) => [make("span", { class: "token" }, visible(token)), value]))));
  }
  parts.push(charts, effects, ...makeExamples(record.examples ?? []));
  const more = await makeAlike(dictionary, feature);
  if (more) parts.push(make("h2", {}, "Labels that mean the like"), more);
  parts.push(make("p", {}, before !== undefined ? linkFeature(dictionary, before, "previous") : null, " ", after !== undefined ? linkFeature(dictionary, after, "next") : null, " ", make("a", { href: `#${encodeURI(dictionary.dictionary)}` }, "all of the dictionary")));
  return page(record.label ?? id, ...parts);
}

function makeExamples(examples) {
  const parts = [];
  let before = null;
  for (const [band, tokens, active, values, peak] of examples) {
    if (band !== before) parts.push(make("h2", {}, band === "top" ? "Strongest examples" : `Examples from ${band}`));
    before = band;
    const most = Math.max(1e-9, ...values.map(Math.abs));
    const window = make("p", { class: "example" });
    tokens.forEach((token, at) => {
      const place = active.indexOf(at);
      if (place < 0) return window.append(token);
      const lit = make("span", { title: `${show(values[place])}`, class: at === peak ? "lit peak" : "lit" }, token);
      lit.style.backgroundColor = `rgba(var(--fire), ${0.15 + 0.85 * Math.abs(values[place]) / most})`;
      window.append(lit);
    });
    parts.push(window);
  }
  return parts;
}

async function showDictionary(dictionary, from) {
  const parts = [make("h1", {}, dictionary.dictionary), make("p", { class: "quiet" }, `${show(dictionary.features)} features`)];
  const place = findBlock(dictionary, from) ?? [dictionary.files[0], 0];
  if (place[0]) {
    const records = await readBlock(...place);
    parts.push(makeTable(["feature", "label", "density"], records.map(record => [linkFeature(dictionary, record.feature, `${record.feature}`), linkFeature(dictionary, record.feature, record.label ?? "no label"), record.density])));
    const next = findNext(dictionary, place);
    if (next !== undefined) {
      parts.push(make("p", {}, make("a", { href: `#${encodeURI(dictionary.dictionary)}?from=${next}` }, "more")));
    }
  }
  return page(dictionary.dictionary, ...parts);
}

// Search. Words are split as ingest/formats/site/meaning.py splits them.
const split = text => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
const stem = word => word.length > 3 && word.endsWith("s") && !word.endsWith("ss") ? word.slice(0, -1) : word;

const loadLabels = (known => () => known ??= loadWhole("labels").catch(error => { known = null; throw error; }).then(labels => {
  const postings = new Map();
  let total = 0;
  const lengths = labels.label.map((label, row) => {
    const words = split(label).map(stem);
    total += words.length;
    for (const word of words) {
      const rows = postings.get(word) ?? new Map();
      rows.set(row, (rows.get(row) ?? 0) + 1);
      postings.set(word, rows);
    }
    return words.length;
  });
  return { ...labels, postings, lengths, mean: total / Math.max(1, lengths.length) };
}))(null);

const loadMeaning = (known => () => known ??= loadWhole("meaning").catch(error => { known = null; throw error; }).then(meaning => ({
  ...meaning,
  places: new Map(meaning.words.map((word, at) => [word, at])),
  of_words: new Int8Array(fromBase64(meaning.of_words).buffer),
  of_labels: new Int8Array(fromBase64(meaning.of_labels).buffer),
})))(null);

function rankByWords(labels, text) {
  const scores = new Map();
  const count = labels.label.length;
  for (const word of new Set(split(text).map(stem))) {
    const rows = labels.postings.get(word);
    if (!rows) continue;
    const rarity = Math.log(1 + (count - rows.size + 0.5) / (rows.size + 0.5));
    for (const [row, times] of rows) {
      const score = rarity * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * labels.lengths[row] / labels.mean));
      scores.set(row, (scores.get(row) ?? 0) + score);
    }
  }
  return [...scores].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, RANKED);
}

function meanOfWords(meaning, text) {
  const mean = new Float64Array(meaning.dimensions);
  let known = 0;
  for (const word of split(text)) {
    const place = meaning.places.get(word) ?? meaning.places.get(stem(word));
    if (place === undefined) continue;
    known += 1;
    const vector = meaning.of_words.subarray(place * meaning.dimensions, (place + 1) * meaning.dimensions);
    const weight = meaning.weights[place] / (Math.hypot(...vector) || 1);
    vector.forEach((value, at) => { mean[at] += weight * value; });
  }
  return known ? mean : null;
}

function rankByVector(meaning, vector, except = -1) {
  const { dimensions, of_labels } = meaning;
  const length = Math.hypot(...vector) || 1;
  const scores = [];
  for (let row = 0; row * dimensions < of_labels.length; row += 1) {
    let product = 0, square = 0;
    for (let at = 0; at < dimensions; at += 1) {
      const value = of_labels[row * dimensions + at];
      product += value * vector[at];
      square += value * value;
    }
    if (row !== except) scores.push([row, product / (length * Math.sqrt(square || 1))]);
  }
  return scores.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, RANKED);
}

function fuse(rankings) {
  const scores = new Map();
  for (const ranking of rankings) ranking.forEach(([row], rank) => scores.set(row, (scores.get(row) ?? 0) + 1 / (FUSED + rank)));
  return [...scores].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

function makeHits(manifest, labels, ranked, most) {
  const list = make("ol", { class: "hits" });
  const shown = new Set();
  for (const [row] of ranked) {
    const key = `${labels.dictionary[row]}/${labels.feature[row]}`;
    if (shown.has(key) || shown.size >= most) continue;
    shown.add(key);
    const dictionary = manifest.dictionaries[labels.dictionary[row]];
    list.append(make("li", {}, linkFeature(dictionary, labels.feature[row], labels.label[row]), " ", make("span", { class: "id quiet" }, `${dictionary.dictionary}/${labels.feature[row]}`)));
  }
  return list;
}

async function makeAlike(dictionary, feature) {
  const manifest = await loadManifest();
  if (!manifest.meaning) return null;
  const [labels, meaning] = await Promise.all([loadLabels(), loadMeaning()]);
  const number = manifest.dictionaries.indexOf(dictionary);
  const row = labels.feature.findIndex((each, at) => each === feature && labels.dictionary[at] === number);
  if (row < 0) return null;
  const vector = meaning.of_labels.subarray(row * meaning.dimensions, (row + 1) * meaning.dimensions);
  return makeHits(manifest, labels, rankByVector(meaning, vector, row).filter(([at]) => labels.feature[at] !== feature || labels.dictionary[at] !== number), 8);
}

async function showSearch(text, mode) {
  const manifest = await loadManifest();
  const labels = await loadLabels();
  const rankings = [];
  if (mode !== "meaning") rankings.push(rankByWords(labels, text));
  let note = "";
  if (mode !== "words" && manifest.meaning) {
    const meaning = await loadMeaning();
    const vector = meanOfWords(meaning, text);
    if (vector) rankings.push(rankByVector(meaning, vector));
    else note = "The site knows none of these words' meanings. ";
  } else if (mode !== "words") note = "The site was made without an embedder: by words alone. ";
  const ranked = fuse(rankings);
  const hits = makeHits(manifest, labels, ranked, SHOWN);
  return page(text, make("p", { class: "quiet" }, `${note}${hits.children.length ? `${hits.children.length} features` : "No label has these words."}`), hits);
}

const loadManifest = () => loadWhole("manifest");

const page = (title, ...parts) => ({ title, parts });

function showHome(manifest) {
  return page(manifest.title, make("h1", {}, manifest.title), makeTable(["dictionary", "features", "hook point"], manifest.dictionaries.map(each => [make("a", { href: `#${encodeURI(each.dictionary)}` }, each.dictionary), each.features, each.hook_point])));
}

async function choosePage() {
  const manifest = await loadManifest();
  document.getElementById("about").textContent = `Made by ${manifest.tool}.`;
  const [path, query] = location.hash.slice(1).split("?");
  const options = new URLSearchParams(query ?? "");
  const parts = decodeURI(path).split("/");
  const dictionary = manifest.dictionaries.find(each => each.dictionary === parts.slice(0, 2).join("/"));
  if (options.has("text")) {
    document.getElementById("text").value = options.get("text");
    document.getElementById("mode").value = options.get("mode") ?? "both";
    return showSearch(options.get("text"), options.get("mode") ?? "both");
  }
  if (!path) return showHome(manifest);
  if (dictionary && /^\d+$/.test(parts[2] ?? "")) return showFeature(dictionary, Number(parts[2]));
  if (dictionary) return showDictionary(dictionary, Number(options.get("from") ?? 0));
  return page("not here", make("p", {}, `This site has no ${decodeURI(path)}.`));
}

let asked = 0;

async function route() {
  const turn = asked += 1;
  const status = document.getElementById("status");
  status.textContent = "reading";
  try {
    const { title, parts } = await choosePage();
    if (turn !== asked) return;   // somebody went on meanwhile
    document.title = title;
    document.getElementById("content").replaceChildren(...parts);
    status.textContent = "";
  } catch (problem) {
    if (turn === asked) status.textContent = `This could not be shown: ${problem.message}`;
  }
}

document.getElementById("search").addEventListener("submit", event => {
  event.preventDefault();
  const text = document.getElementById("text").value.trim();
  if (text) location.hash = `?${new URLSearchParams({ text, mode: document.getElementById("mode").value })}`;
});
window.addEventListener("hashchange", route);
route();
