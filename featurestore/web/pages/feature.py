"""The page of one feature, and the forms on it that add a label or take one back."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from flask import g, redirect, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from featurestore.errors import BadRequest, FeatureStoreError, NotFound
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.feature import Feature, FeatureId, GivenLabel
from featurestore.values.hits import Hit
from featurestore.values.label_text import MOST_LABEL
from featurestore.web.api import labels
from featurestore.web.pages import graphs
from featurestore.web.pages.one_feature import facts, moves
from featurestore.web.pages.one_feature.example_bands import group_bands
from featurestore.web.pages.page import Page
from featurestore.web.pages.streamed_page import PAUSE, stream_page, try_part
from featurestore.web.requests import read
from featurestore.wire.limits import MOST_TEXT
from featurestore.wire.requests import Request

NEIGHBOURS = 8
FORMS = (["label"], ["remove"], ["of", "vote"])  # the fields of the page's forms


class FeatureFields(Request, frozen=True):
    """The fields of the page: only examples whose text has this in it."""

    contains: str = ""


class OnTextFields(Request, frozen=True):
    """The fields of the feature's page with a text: the text that the model runs on."""

    text: Annotated[str, Meta(max_length=MOST_TEXT)] = ""


def show_feature(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Return the page of a feature: statistics, labels, scores, examples, logit effects and nearest features."""
    fields = read(FeatureFields)
    return stream_page("feature.html", **_describe(store, f"{model}/{source}/{index}", fields.contains))


def show_on_text(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Return the page of a feature with its activations on a text, of this feature alone, also where it is silent."""
    text = read(OnTextFields).text.replace("\r\n", "\n")  # as a form sends line breaks
    context = _describe(store, f"{model}/{source}/{index}") | {"text": text}
    if not text.strip() or g.get("only_shown"):
        return stream_page("feature.html", **context)
    page = context["page"]
    try:
        answer = store.activating(text, features=[page.id])
    except FeatureStoreError as exc:
        return stream_page("feature.html", exc.status, **context | {"text_error": str(exc)})
    others = urlencode({"text": text, "dictionary": page.dictionary})
    json = f"/v1/activating?{urlencode({'text': text, 'feature': page.id})}"
    return stream_page(
        "feature.html", **context | {"answer": answer, "on_text": answer.features[0], "others": others, "json": json}
    )


def _describe(store: FeatureStore, id: str, contains: str = "") -> dict[str, Any]:
    """Return what the page's template shows of a feature."""
    page = store.feature(id)
    dictionary = store.dictionary(page.dictionary)
    bands = group_bands(page, contains)
    return {
        "page": page,
        "dictionary": dictionary,
        "bands": bands,
        "contains": contains,
        "matching": sum(len(band.examples) + len(band.repeated) for band in bands),
        "folded": any(run.far for band in bands for _, runs in band.examples for run in runs),
        # A search takes longer than all the rest of the page, which is sent before it.
        "pause": PAUSE,
        "find_nearest": lambda: try_part(lambda: _find_nearest(store, page)),
        "companions": facts.list_companions(store, page),
        "imported": facts.list_imported(page),
        "copy_lines": facts.list_copy_lines(page),
        "before": page.feature - 1 if page.feature else None,
        "graphs": graphs.list_graphs_of(store, FeatureId.parse(page.id)),
        "history": store.label_history(page.id),
        "most": MOST_LABEL,
        "most_text": MOST_TEXT,
        "after": page.feature + 1 if page.feature + 1 < dictionary.d_sae else None,
    }


def change_label(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Write the label of the form, take back that of the explainer in it, or vote on one.

    Leads back to the feature's page. The voter is the key of the request, or "human".
    """
    fields = dict(request.form.items(multi=True))
    if len(fields) != len(list(request.form.items(multi=True))) or sorted(fields) not in FORMS:
        raise BadRequest("the form has one field, label or remove, or the two of a vote: vote and of, the label")
    id, tool = f"{model}/{source}/{index}", labels.name_writer(store)
    if "vote" in fields:
        store.vote(id, fields["of"], read_vote(fields["vote"]), g.get("key") or "human", tool)
    elif "remove" in fields:
        store.remove_label(id, fields["remove"], tool)
    else:
        store.add_labels([GivenLabel(id=id, label=fields["label"])], tool)
    return redirect(f"/features/{quote(id)}", 303)


def read_vote(text: str) -> int:
    """Return the number of a vote. Raises BadRequest for a text that is none."""
    if text not in ("-1", "0", "1"):
        raise BadRequest(f"vote: '{text:.20}' is not 1 (for the label), -1 (against it) or 0 (take the vote back)")
    return int(text)


def _find_nearest(store: FeatureStore, page: Feature) -> list[Hit]:
    try:
        return list(store.run(Query.of({"near": page.id, "k": NEIGHBOURS})))
    except (BadRequest, NotFound):
        return []  # a zero decoder vector is near nothing, and some dictionaries have no vectors


PATH = "/features/<model>/<source>/<index>"
PAGES = (
    Page(PATH, show_feature, may_embed=True),
    Page(PATH, change_label, method="POST", scope="write", lane="write"),
    Page(f"{PATH}/on-text", show_on_text, lane="activating", has_blank_form=True),
    *moves.PAGES,
)
