"""The tools: each asks the store one question and returns the answer as JSON that fits a budget of tokens.

The parameters of a method are the tool's arguments, and its docstring is what an assistant reads about the tool.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from featurestore.errors import BadRequest
from featurestore.graphs.nodes import find_places
from featurestore.interface import FeatureStore
from featurestore.mcp import answers, descriptions
from featurestore.mcp.answers import Place
from featurestore.query import Query
from featurestore.sql.conditions import check_condition, subqueries_allowed
from featurestore.storage.locations import without_paths
from featurestore.values.comparisons import FeatureComparison
from featurestore.values.graphs import GraphNode
from featurestore.values.hits import Hits
from featurestore.wire.limits import MOST_SQL, MOST_TEXT, SQL_SECONDS

MOST_HITS = 200
MOST_CALL_ROWS = 1000  # rows of SQL that one call looks at

Id = Annotated[str, Field(description="A feature: model/source/index, as answers name it.")]
HitCount = Annotated[int, Field(description="Most results of an answer.", ge=1, le=MOST_HITS)]
Over = Annotated[
    list[str] | None,
    Field(
        description="What is searched: labels, tokens (that it fires on), logits (tokens that it raises), examples (by "
        "meaning: also finds features without a label, where they are embedded). Left out: all but logits."
    ),
]
Within = Annotated[
    list[str] | None, Field(description="Only these dictionaries (model/source) or models; all unless given.")
]
Among = Annotated[
    list[str] | None, Field(description="Rank only these features, by id, or those of a list kept in the store: @name.")
]
Where = Annotated[
    str | None,
    Field(description="SQL condition on the view `features`, as in: layer > 3 and density < 0.01", max_length=4000),
]
Cursor = Annotated[str | None, Field(description="`next` of the answer before, with the same other arguments.")]
Budget = Annotated[int | None, Field(description="Most tokens of the answer.")]
Texts = Annotated[list[Annotated[str, Field(max_length=MOST_TEXT)]], Field(min_length=1, max_length=200)]


class Tools:
    """The tools over one store. `budget` is how many tokens an answer has where a call names no number."""

    def __init__(self, store: FeatureStore, budget: int = answers.BUDGET):
        self._store = store
        self._budget = answers.check_budget(None, budget)

    def methods(self) -> tuple[Callable[..., str], ...]:
        """Return the methods that are tools."""
        return (
            self.search,
            self.nearest,
            self.feature,
            self.activating,
            self.contrast,
            self.compare,
            self.sql,
            self.dictionaries,
            self.graph,
        )

    def search(
        self,
        text: Annotated[str, Field(description="What to look for, in words.", min_length=1, max_length=4000)],
        mode: Annotated[str, Field(description="hybrid, semantic (by meaning) or keyword (by words).")] = "hybrid",
        over: Over = None,
        within: Within = None,
        where: Where = None,
        among: Among = None,
        k: HitCount = 10,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Find features by what their labels say, and by the tokens that they fire on. Best hits come first."""
        arguments = {"text": text, "mode": mode, "over": over, "within": within, "where": where, "among": among, "k": k}
        return self._hits(arguments, {**arguments}, cursor, budget)

    def nearest(
        self,
        to: Annotated[
            list[str] | str, Field(description="One feature's id, or several: the mean of their directions.")
        ],
        unlike: Annotated[list[str] | None, Field(description="Features whose directions are subtracted.")] = None,
        within: Within = None,
        where: Where = None,
        among: Among = None,
        k: HitCount = 10,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Find the features whose decoder vectors point most nearly the way that a feature's does.

        The score is the cosine. With `within` another dictionary of the same space this tells whether two
        dictionaries have the same feature: about 0.9 and more is the same direction.
        """
        near = (to,) if isinstance(to, str) else tuple(to)
        arguments = {"near": near, "unlike": unlike, "within": within, "where": where, "among": among, "k": k}
        return self._hits(arguments, {name: value for name, value in arguments.items() if value}, cursor, budget)

    def feature(
        self,
        id: Id,
        examples: Annotated[int, Field(description="Most examples of each band.", ge=0, le=50)] = 3,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Read one feature: its labels and their scores, how often it fires, which tokens it makes the model
        predict, and examples of text with what it fires on between << and >>.
        """
        arguments = {"id": id, "examples": examples}
        page = answers.read_cursor(cursor, arguments)
        content = self._store.feature(id, examples)
        head = {} if page.start else descriptions.describe_feature(content)
        rows = [descriptions.describe_example(example) for example in content.examples[page.start :]]
        return answers.fit(head, "examples", rows, arguments, page, answers.check_budget(budget, self._budget))

    def activating(
        self,
        text: Annotated[str, Field(description="The text to run the model on.", min_length=1, max_length=MOST_TEXT)],
        within: Within = None,
        k: Annotated[int, Field(description="Number of features.", ge=1, le=100)] = 10,
        order: Annotated[str, Field(description="specific (to this text), or activation as it is.")] = "specific",
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Run the model on a text and say which features fire hardest, and on which tokens."""
        arguments = {"text": text, "within": within, "k": k, "order": order}
        page = answers.read_cursor(cursor, arguments)
        result = self._store.activating(text, within, k, order)
        rows = [descriptions.describe_active(feature, result.tokens) for feature in result.features[page.start :]]
        head = {} if page.start else {"tokens": len(result.tokens), "notes": result.notes}
        return answers.fit(head, "features", rows, arguments, page, answers.check_budget(budget, self._budget))

    def contrast(
        self,
        texts: Annotated[Texts, Field(description="Texts on which the features should fire.")],
        against: Annotated[Texts, Field(description="Texts on which they should not.")],
        within: Within = None,
        k: Annotated[int, Field(description="Number of features.", ge=1, le=100)] = 10,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Run the model on two sets of texts and say which features fire more on the first than on the second."""
        arguments = {"texts": texts, "against": against, "within": within, "k": k}
        page = answers.read_cursor(cursor, arguments)
        result = self._store.contrast(texts, against, within, k)
        rows = [descriptions.describe_contrast(feature) for feature in result.features[page.start :]]
        head = {} if page.start else {"notes": result.notes}
        return answers.fit(head, "features", rows, arguments, page, answers.check_budget(budget, self._budget))

    def compare(
        self,
        ids: Annotated[
            list[str],
            Field(description="Two to eight features, or two dictionaries (model/source).", min_length=2, max_length=8),
        ],
        show: Annotated[
            Literal["matches", "unmatched", "other_unmatched"],
            Field(description="Of dictionaries: best matches by cosine, or features of one that the other lacks."),
        ] = "matches",
        k: HitCount = 20,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Compare features (cosine, how often they fire together, shared tokens and logits, for each pair), or two
        dictionaries: how many features of each have a match in the other, and which.
        """
        arguments = {"ids": ids, "show": show, "k": k}
        page, limit = answers.read_cursor(cursor, arguments), answers.check_budget(budget, self._budget)
        result = self._store.compare(ids, k=k)
        head = {} if page.start else descriptions.describe_comparison(result)
        if isinstance(result, FeatureComparison):
            pairs = [descriptions.describe_pair(pair) for pair in result.pairs[page.start :]]
            return answers.fit(head, "pairs", pairs, arguments, page, limit)
        matches = [descriptions.describe_match(match) for match in getattr(result, show)[page.start :]]
        return answers.fit(head, show, matches, arguments, page, limit)

    def sql(
        self,
        sql: Annotated[
            str,
            Field(description="One SELECT (DuckDB) over the views; see the schema.", min_length=1, max_length=MOST_SQL),
        ],
        parameters: Annotated[
            dict[str, Any] | list[Any] | None,
            Field(description="Values of the statement's parameters: an object for $name, a list for ?."),
        ] = None,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Ask in SQL, when the other tools do not fit: counts, joins, aggregates, any order.

        The views are dictionaries, features, labels, best_labels, scores, examples, votes, graphs, graph_nodes,
        graph_links, lists, list_features; the resource featurestore://schema has their columns. Searches are table
        functions, as in FROM semantic('deception', k := 100), and so are pruned_nodes('slug'), pruned_links,
        graph_paths and graph_groups of a graph. Rows are lists in the order of `columns`. Give an ORDER BY where you
        want to go on with the cursor.
        """
        arguments = {"sql": sql, "parameters": parameters}
        page = answers.read_cursor(cursor, arguments)
        last = page.start + MOST_CALL_ROWS
        table = self._store.sql(sql, parameters, max_rows=last, timeout=SQL_SECONDS)
        columns = [column.to_pylist() for column in table.slice(page.start).columns]
        rows = list(zip(*columns, strict=True))
        head = {"columns": table.column_names}
        more = b"featurestore.truncated" in (table.schema.metadata or {})
        limit = answers.check_budget(budget, self._budget)
        return answers.fit(head, "rows", rows, arguments, page, limit, more=more)

    def dictionaries(
        self,
        id: Annotated[str | None, Field(description="One dictionary (model/source), whole; all unless given.")] = None,
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """List the dictionaries of the store: model, layer, size, how many features have a label, and the space that
        makes their features comparable. Begin here.
        """
        arguments = {"id": id}
        page, limit = answers.read_cursor(cursor, arguments), answers.check_budget(budget, self._budget)
        if id is not None:
            dictionary = self._store.dictionary(id)
            coverage = next(entry for entry in self._store.coverage() if entry.dictionary == dictionary.dictionary)
            whole = {**msgspec.to_builtins(without_paths(dictionary)), **descriptions.describe_coverage(coverage)}
            return answers.fit({}, "dictionaries", [whole], arguments, page, limit)
        labels = {entry.dictionary: entry for entry in self._store.coverage()}
        rows = [
            descriptions.describe_dictionary(dictionary, labels[dictionary.dictionary])
            for dictionary in self._store.dictionaries()[page.start :]
        ]
        return answers.fit({}, "dictionaries", rows, arguments, page, limit)

    def graph(
        self,
        graph: Annotated[str | None, Field(description="Name of an attribution graph; a list of all without.")] = None,
        node: Annotated[str | None, Field(description="A node of it: what leads to the node and what it leads to.")] = (
            None
        ),
        cursor: Cursor = None,
        budget: Budget = None,
    ) -> str:
        """Read an attribution graph: which features, on which tokens, led the model to its next token.

        Without `node`: its nodes, the most influential first. With it: the links of that node by strength.
        """
        arguments = {"graph": graph, "node": node}
        page, limit = answers.read_cursor(cursor, arguments), answers.check_budget(budget, self._budget)
        if graph is None:
            if node is not None:
                raise BadRequest("node: say of which graph")
            rows = [descriptions.describe_graph(summary) for summary in self._store.graphs()[page.start :]]
            return answers.fit({}, "graphs", rows, arguments, page, limit)
        content = self._store.graph(graph)
        if node is None:
            head = {} if page.start else {"graph": content.graph, "prompt": content.prompt, "scan": content.scan}
            # Influence is cumulative: the strongest node has the smallest. Logits, which the graph explains, have none.
            nodes = sorted(content.nodes, key=lambda each: (each.influence is not None, each.influence or 0.0))
            rows = [descriptions.describe_node(each, content) for each in nodes[page.start :]]
            return answers.fit(head, "nodes", rows, arguments, page, limit)
        numbers = find_places(content, node, self._store.dictionaries())
        if not numbers:
            raise BadRequest(
                f"node: {node!r:.100} is no node of {graph}; its nodes have ids as in {_an_id(content.nodes)}"
            )
        rows = []
        links = sorted(content.links, key=lambda link: -abs(link.weight))
        for link, (place, other) in itertools.product(links, (("from", "source"), ("to", "target"))):
            if getattr(link, "target" if other == "source" else "source") in numbers:
                described = descriptions.describe_node(content.nodes[getattr(link, other)], content)
                rows.append({place: described, "weight": link.weight})
        about: dict[str, Any] = (
            {} if page.start else {"node": descriptions.describe_node(content.nodes[numbers[0]], content)}
        )
        return answers.fit(about, "links", rows[page.start :], arguments, page, limit)

    def _hits(
        self, arguments: Mapping[str, Any], fields: Mapping[str, Any], cursor: str | None, budget: int | None
    ) -> str:
        """Return an answer with hits. The store's own cursor leads from page to page, ours through a page."""
        page, limit = answers.read_cursor(cursor, arguments), answers.check_budget(budget, self._budget)
        where = fields.get("where")
        if where is not None and not subqueries_allowed.get():
            # A service that is asked here judges by the key that this server has, and not by the caller's.
            check_condition(where, subqueries=False)
        several = {name: tuple(fields[name]) if fields.get(name) else None for name in ("within", "among")}
        query = Query.of({**fields, **several, "cursor": page.inner})
        hits: Hits = self._store.run(query)
        rows = [descriptions.describe_hit(hit) for hit in hits[page.start :]]
        # No tool has `all`, which would show what is left out: the notes say how much that is, without the remedy.
        notes = [note.replace(" (all=true shows them)", "") for note in hits.notes]
        head = {"notes": notes} if page == Place() else {}
        # A store may name a page after the last that turns out to be empty; fewer hits than asked for are the end.
        after = hits.next if len(hits) == query.k else None
        return answers.fit(head, "hits", rows, arguments, page, limit, after=after)


def _an_id(nodes: Sequence[GraphNode]) -> str:
    return ", ".join(node.node_id for node in nodes[:3])
