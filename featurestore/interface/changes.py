"""What every store can be told to keep or to remove; each kind of store does it in its own way.

Dictionaries and their features are written to local stores only (`Store.writer`).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.ids import FeaturesLike
from featurestore.values.feature import (
    FeatureLike,
    GivenLabel,
)
from featurestore.values.graphs import GraphAdded, NodeLike
from featurestore.values.jobs import Job
from featurestore.values.lists import FeatureList, ListedFeature

if TYPE_CHECKING:
    pass


class Changes(abc.ABC):
    """Graphs, lists, labels and jobs, for writing."""

    @abc.abstractmethod
    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        """Keep an attribution graph of circuit-tracer or Neuronpedia, given as a file or as its JSON.

        Returns how many nodes and links it has, and how many nodes are features of the store. `slug` is a name in
        place of the file's. `map` names the dictionaries of its features, as in "12=model/source" or
        "model/{layer}-source"; without it they are found by what the file and the store's dictionaries have in
        common. `tool` is recorded as the writer; a service records itself and the key. Raises BadRequest for a
        malformed graph, Conflict for a name that exists (unless `replace`), Forbidden where a service takes no
        writes.
        """

    @abc.abstractmethod
    def save_graph(self, slug: str, view: Mapping[str, Any], tool: str | None = None) -> None:
        """Keep what a person pinned, grouped and named in a graph, in place of what was kept before.

        `view` is what front ends of graphs call qParams, such as pinnedIds, supernodes and clerps; the graph's nodes
        and links stay. Raises NotFound, BadRequest for a view larger than a megabyte, Forbidden where a service takes
        no writes.
        """

    @abc.abstractmethod
    def edit_graph(
        self,
        slug: str,
        pin: NodeLike | Sequence[NodeLike] = (),
        unpin: NodeLike | Sequence[NodeLike] = (),
        group: Mapping[str, NodeLike | Sequence[NodeLike]] | None = None,
        ungroup: Sequence[str] = (),
        name: Mapping[str, str | None] | None = None,
        tool: str | None = None,
    ) -> dict[str, Any]:
        """Change what is pinned, grouped and named in a graph. Returns its view after that, as `graph(slug).view`.

        Nodes are given by `node_id`, or by a feature's id for all its nodes. `group` has the nodes of supernodes by
        name, in place of those that they had; `name` has texts of nodes, None takes one back. Raises NotFound for a
        node or supernode that is not there, Forbidden where a service takes no writes.
        """

    @abc.abstractmethod
    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        """Remove a graph. Raises NotFound."""

    @abc.abstractmethod
    def save_list(
        self,
        name: str,
        features: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        note: str | None = None,
        replace: bool = False,
        keep_missing: bool = False,
        tool: str | None = None,
    ) -> FeatureList:
        """Keep a list of features under a name, and return it. Searches then take `among="@name"`.

        `features` are given in any form of an id, or as ListedFeature with a note each; 10,000 at most. `note` is about
        the list. `keep_missing` takes features that the store has not, as of a list from elsewhere. Raises BadRequest
        for another name than of letters, digits, `_`, `-` and `.`, NotFound for a missing feature, Conflict for a name
        that exists (unless `replace`), Forbidden where a service takes no writes.
        """

    @abc.abstractmethod
    def change_list(
        self,
        name: str,
        add: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        remove: FeaturesLike = (),
        note: str | None = None,
        tool: str | None = None,
    ) -> FeatureList:
        """Add features to a list, take some out, change its note ("" takes it away); returns the list after that.

        A feature that the list has keeps its place, and gets the new note where one is given. Raises NotFound for a
        list or feature that is not there, Conflict when another writer changes it meanwhile, and as `save_list` does.
        """

    @abc.abstractmethod
    def remove_list(self, name: str, tool: str | None = None) -> None:
        """Remove a list, but not its features. Raises NotFound."""

    @abc.abstractmethod
    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        """Write labels of features, all in one commit or none. Returns the number of the commit.

        `tool` is recorded as the writer; a service records itself and the key, and takes 1,000 labels at once.
        Raises BadRequest, NotFound for a missing feature, Conflict when its dictionary is replaced meanwhile, Forbidden
        where a service takes no writes.
        """

    @abc.abstractmethod
    def remove_label(self, id: FeatureLike, explainer: str = "human", tool: str | None = None) -> None:
        """Take back what `explainer` says of a feature; what others say stays, and the history keeps the text.

        Raises NotFound when there is no such label, and as `add_labels` does.
        """

    @abc.abstractmethod
    def vote(self, id: FeatureLike, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        """Vote on one of a feature's labels: 1 for it, -1 against it, 0 takes the vote back; a voter's newest counts.

        Raises NotFound when the feature has no such label, BadRequest for another vote, and as `add_labels` does.
        """

    @abc.abstractmethod
    def start_job(self, kind: str) -> Job:
        """Start an index, compact or check in its own process. Returns the job as it begins; `job` gives its progress.

        Raises BadRequest for another kind, Conflict where one of this kind runs.
        """

    @abc.abstractmethod
    def cancel_job(self, id: str) -> Job:
        """End a job that `start_job` began, or forget one that has ended. Returns the job after that.

        Raises NotFound, or Conflict for a job that runs in a terminal or program of its user.
        """
