"""Labelling a store: choose features, explain each, write labels in batches so that a killed run keeps what it has."""

from __future__ import annotations

import collections
import concurrent.futures
import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pyarrow

import featurestore
from featurestore import BadRequest, FeatureStore
from labeler import explain, tokens
from labeler.llm import Endpoint

BATCH = 200  # labels of one commit when a language model makes them
TOP_SHARE = 0.5  # of a feature's mass, what its strongest examples get; sampled ones have the rest

Progress = Callable[[str, int], AbstractContextManager[Any]]


class Report(NamedTuple):
    """What a run did. `failed` counts by reason; `skipped` had a label by this explainer already, or is dead."""

    explainer: str
    labelled: int
    skipped: int
    failed: dict[str, int]


def by_tokens(store: Any, dictionaries: Sequence[str], progress: Progress) -> Report:
    """Label every live feature of the dictionaries from token statistics; dead ones are skipped and counted."""
    labelled = skipped = 0
    for dictionary in dictionaries:
        rows = [
            {"feature": feature, "label": text, "examples": examples}
            for feature, text, examples in _token_labels(store, dictionary, progress)
        ]
        total = store.dictionary(dictionary).d_sae
        labelled, skipped = labelled + len(rows), skipped + total - len(rows)
        if rows:
            _write(store, dictionary, rows, "tokens", tokens.PROMPT)
    return Report("tokens", labelled, skipped, {})


def _token_labels(store: Any, dictionary: str, progress: Progress) -> Iterator[tuple[int, str, int]]:
    name = dictionary.replace("'", "''")
    of_corpus = _token_shares(store, name)
    promoted = {
        row["feature"]: tokens.standing_out([(one["token"], one["value"]) for one in row["top_logits"] or []])
        for row in store.sql(f"SELECT feature, top_logits FROM stored.features WHERE dictionary = '{name}'").to_pylist()
    }
    seen: dict[int, tokens.Seen] = {}
    counts: dict[int, int] = {}
    with progress(f"reading examples of {dictionary}", len(promoted)) as bar:
        for feature, firings in _firings(store, name):
            seen[feature] = tokens.see(firings)
            counts[feature] = len(firings)
            bar.advance(1)
    common = tokens.background(of_corpus, seen.values())
    for feature, one in seen.items():
        yield feature, tokens.label(one, common, promoted.get(feature, [])), counts[feature]


def _token_shares(store: Any, name: str) -> dict[str, float]:
    """Share of each token (text, outer spaces dropped) among the tokens of the dictionary's corpus."""
    rows = store.sql(
        f"""
        WITH mine AS (SELECT corpus, tokenizer FROM stored.dictionaries WHERE dictionary = '{name}'),
             counted AS (
                 SELECT t, count(*) AS n
                 FROM (SELECT unnest(tokens) AS t FROM stored.tokens WHERE corpus IN (SELECT corpus FROM mine))
                 GROUP BY t)
        SELECT z.pieces[t + 1] AS piece, n FROM counted, stored.tokenizers z
        WHERE z.tokenizer IN (SELECT tokenizer FROM mine)
        """
    )
    total = sum(rows["n"].to_pylist()) or 1
    shares: dict[str, float] = collections.defaultdict(float)
    for piece, n in zip(rows["piece"].to_pylist(), rows["n"].to_pylist(), strict=True):
        shares[piece.strip(" ") or piece] += n / total
    return shares


def _firings(store: Any, name: str) -> Iterator[tuple[int, list[tokens.Firing]]]:
    mine = f"(SELECT corpus FROM stored.dictionaries WHERE dictionary = '{name}')"
    table = store.sql(
        f"""
        SELECT feature, band = 'top' AS top, coalesce(weight, 1) * abs(activation) AS mass,
               position - start AS peak, document, start, length
        FROM stored.examples WHERE dictionary = '{name}' ORDER BY feature
        """
    )
    # Windows are cut here: a join would copy a whole document, a novel say, for each of its examples.
    runs = store.sql(f"SELECT document, run, tokens FROM stored.tokens WHERE corpus IN {mine} ORDER BY document, run")
    corpus = runs["tokens"].combine_chunks()
    stream = corpus.flatten().to_numpy()
    first = runs["run"].to_numpy() == 0
    begins = dict(
        zip(runs["document"].to_numpy()[first].tolist(), corpus.offsets.to_numpy()[:-1][first].tolist(), strict=True)
    )
    pieces = store.sql(
        "SELECT pieces FROM stored.tokenizers WHERE tokenizer IN "
        f"(SELECT tokenizer FROM stored.dictionaries WHERE dictionary = '{name}')"
    )["pieces"].to_pylist()
    if not pieces:
        return
    text = pieces[0]
    for batch in _groups(table):
        totals = {top: sum(mass for _, at_top, mass, *_ in batch if at_top == top) or 1.0 for top in (True, False)}
        both = len({top for _, top, *_ in batch}) == 2
        firings = []
        for _, top, mass, peak, document, start, length in batch:
            at = begins[document] + start
            ids = stream[at : at + length].tolist()
            share = (TOP_SHARE if top else 1 - TOP_SHARE) if both else 1.0
            before = "".join([text[id] for id in ids[:peak]])
            after = "".join([text[id] for id in ids[peak + 1 : peak + 8]])
            firings.append(tokens.Firing(share * mass / totals[top], text[ids[peak]], before, after))
        yield batch[0][0], firings


def _groups(table: pyarrow.Table) -> Iterator[list[tuple[int, bool, float, int, int, int, int]]]:
    columns = [column.to_pylist() for column in table.columns]
    for _, group in itertools.groupby(zip(*columns, strict=True), key=lambda row: row[0]):
        yield list(group)


def by_model(
    store: Any,
    endpoint: Endpoint,
    *,
    dictionaries: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    concurrency: int = 8,
    redo: bool = False,
    progress: Progress,
) -> Report:
    """Label live features with a language model; the label's explainer is the model's name.

    `where` is a SQL condition over the view `features`. Features this explainer labelled before are skipped unless
    `redo`. Labels are written every 200, so a killed run goes on where it stopped. Replies that hold no label are
    counted by reason and never stored. Raises Unavailable when the endpoint is down or refuses the key.
    """
    if concurrency < 1:
        raise BadRequest(f"concurrency: {concurrency} is not a number of requests")
    chosen, skipped = _choose(store, endpoint.model, dictionaries, where, limit, redo)
    failed: collections.Counter[str] = collections.Counter()
    labelled = 0

    def one(id: str) -> tuple[str, str | None, int, str | None]:
        page = store.feature(id, examples=explain.EXAMPLES)
        if not page.examples:
            return id, None, 0, "no examples"
        try:
            return id, explain.label_of(endpoint.ask(explain.messages(page))), len(page.examples), None
        except explain.UnreadableReply as exc:
            return id, None, 0, str(exc)

    with (
        progress(f"labelling with {endpoint.model}", len(chosen)) as bar,
        concurrent.futures.ThreadPoolExecutor(concurrency) as pool,
    ):
        # A few more are handed out than run at once, so that a stop has little to wait for.
        for batch in _slices(chosen, BATCH):
            done: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
            tasks = [pool.submit(one, id) for id in batch]
            try:
                for task in concurrent.futures.as_completed(tasks):
                    id, text, examples, reason = task.result()
                    bar.advance(1)
                    if text is None:
                        failed[reason or "no label"] += 1
                        continue
                    parsed = featurestore.FeatureId.parse(id)
                    row = {"feature": parsed.feature, "label": text, "examples": examples}
                    done[parsed.dictionary].append(row)
            finally:
                for task in tasks:
                    task.cancel()
                # What was answered before a failure or Ctrl-C is kept.
                for dictionary, rows in done.items():
                    _write(store, dictionary, rows, endpoint.model, explain.PROMPT)
                    labelled += len(rows)
    return Report(endpoint.model, labelled, skipped, dict(failed))


def by_hand(store: Any, id: str, text: str) -> None:
    """Set a person's label of one feature. Raises BadRequest or NotFound."""
    page = store.feature(id, examples=0)
    if not text.strip():
        raise BadRequest("the label is empty")
    _write(store, page.dictionary, [{"feature": page.feature, "label": text.strip(), "examples": None}], "human", None)


def choose_dictionaries(store: FeatureStore, asked: Sequence[str]) -> list[str]:
    """The asked dictionaries, or all. Raises NotFound, or BadRequest when there is none."""
    names = [store.dictionary(id).dictionary for id in asked] or [d.dictionary for d in store.dictionaries()]
    if not names:
        raise BadRequest("the store has no dictionary yet: harvest or import one first")
    return names


def _choose(
    store: Any, explainer: str, dictionaries: Sequence[str], where: str | None, limit: int | None, redo: bool
) -> tuple[list[str], int]:
    names = ", ".join(_quoted(name) for name in choose_dictionaries(store, dictionaries))
    condition = f"AND (\n{where}\n)" if where else ""
    rows = store.sql(
        f"""
        SELECT f.dictionary || '/' || f.feature AS id,
               (f.dictionary, f.feature) IN
                   (SELECT (dictionary, feature) FROM labels WHERE explainer = {_quoted(explainer)}) AS done
        FROM (SELECT * FROM features
              WHERE dictionary IN ({names}) AND active_tokens > 0 {condition}) f
        ORDER BY f.dictionary, f.feature
        """
    ).to_pylist()
    wanted = [row["id"] for row in rows if redo or not row["done"]]
    return wanted[:limit], len(rows) - len(wanted)


def _write(store: Any, dictionary: str, rows: list[dict[str, Any]], explainer: str, prompt: str | None) -> None:
    tool = f"featurestore {featurestore.__version__}"
    now = datetime.datetime.now(datetime.UTC)
    common = {"dictionary": dictionary, "explainer": explainer, "prompt": prompt, "tool": tool, "created_at": now}
    schema = pyarrow.schema([("examples", pyarrow.int32()), ("prompt", pyarrow.string())])
    table = pyarrow.Table.from_pylist([row | common for row in rows])
    for field in schema:  # a column of nulls has no type of its own
        at = table.column_names.index(field.name)
        table = table.set_column(at, field.name, table[field.name].cast(field.type))
    with store.writer(f"{tool} label") as writer:
        writer.add("labels", table, key=dictionary)


def _slices(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
