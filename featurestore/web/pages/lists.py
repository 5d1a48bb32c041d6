"""The pages of lists of features: all of them, one with its features, and the forms that make and change them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Response, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.lists.file_format import FORMS, parse_lines, render
from featurestore.values.lists import ListedFeature, check_name
from featurestore.web.api.labels import name_writer
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Request

MEDIA = {"json": "application/json", "csv": "text/csv", "txt": "text/plain"}


class ListFields(Request, frozen=True):
    """The fields of a list's page: with a format the list is downloaded."""

    format: str | None = None


class ListsFields(Request, frozen=True):
    """The fields of the page of lists: features to begin a new list with, one a line."""

    features: str = ""


def show_lists(store: FeatureStore) -> ResponseReturnValue:
    """Return the page of all lists, with a form for a new one."""
    return render_template("lists.html", lists=store.lists(), features=read(ListsFields).features, error=None, form={})


def create_list(store: FeatureStore) -> ResponseReturnValue:
    """Keep the list of the form; lead to its page, or show again what was typed, with what is wrong."""
    form = _read_form({"name", "note", "features"})
    try:
        name = check_name(form.get("name", "").strip())
        store.save_list(name, parse_lines(form.get("features", "")), form.get("note") or None, tool=name_writer(store))
    except FeatureStoreError as exc:
        context = {"lists": store.lists(), "features": form.get("features", ""), "error": str(exc), "form": form}
        return render_template("lists.html", **context), exc.status
    return redirect(f"/lists/{quote(name)}", 303)


def show_list(store: FeatureStore, name: str) -> ResponseReturnValue:
    """Return the page of a list, or with a format the list as a file."""
    form = read(ListFields).format
    content = store.feature_list(name)
    if form is None:
        return render_template("list.html", list=content, forms=FORMS, error=None, typed="")
    answer: Response = make_response(render(content, form))
    answer.headers["Content-Type"] = f"{MEDIA[form]}; charset=utf-8"
    answer.headers["Content-Disposition"] = f'attachment; filename="{content.list}.{form}"'
    return answer


def change_list(store: FeatureStore, name: str) -> ResponseReturnValue:
    """Change a list as the form says: add features, take one out, change a note, or remove the list."""
    form = _read_form({"add", "drop", "about", "id", "note", "delete", "back"})
    tool = name_writer(store)
    if "delete" in form:
        store.remove_list(name, tool)
        return redirect("/lists", 303)
    try:
        _apply(store, name, form, tool)
    except FeatureStoreError as exc:
        context: dict[str, Any] = {"error": str(exc), "typed": form.get("add", "")}
        return render_template("list.html", list=store.feature_list(name), forms=FORMS, **context), exc.status
    return redirect(f"/lists/{quote(name)}", 303)


def _apply(store: FeatureStore, name: str, form: dict[str, str], tool: str) -> None:
    if "drop" in form:
        store.change_list(name, remove=[form["drop"]], tool=tool)
    elif "about" in form:
        store.change_list(name, note=form["about"], tool=tool)
    elif "id" in form:
        store.change_list(name, add=[ListedFeature(id=form["id"], note=form.get("note", ""))], tool=tool)
    elif form.get("add", "").strip():
        store.change_list(name, add=parse_lines(form["add"]), tool=tool)
    else:
        raise BadRequest("there is nothing to add: write the id of a feature on each line, as in model/source/17")


def add_to_list(store: FeatureStore) -> ResponseReturnValue:
    """Add a feature, from its own page, to the list of this name, which is made where there is none."""
    form = _read_form({"name", "id", "note"})
    name, tool = check_name(form.get("name", "").strip()), name_writer(store)
    listed = [ListedFeature(id=form.get("id", ""), note=form.get("note") or None)]
    if any(each.list == name for each in store.lists()):
        store.change_list(name, add=listed, tool=tool)
    else:
        store.save_list(name, listed, tool=tool)
    return redirect(f"/lists/{quote(name)}", 303)


def _read_form(names: set[str]) -> dict[str, str]:
    """Return the fields of a form. Raises BadRequest for one that is given twice or that the form does not have."""
    form = list(request.form.items(multi=True))
    fields = dict(form)
    if len(fields) < len(form) or set(fields) - names:
        raise BadRequest(f"the form has each of these fields once at most: {', '.join(sorted(names))}")
    return fields


PAGES = (
    Page("/lists", show_lists),
    Page("/lists", create_list, method="POST", scope="write", lane="write"),
    Page("/lists/<name>", show_list, lane="search"),
    Page("/lists/<name>", change_list, method="POST", scope="write", lane="write"),
    Page("/add-to-list", add_to_list, method="POST", scope="write", lane="write"),
)
