"""What a reader should know of an answer: sentences for people, and the same as codes with numbers for programs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# What a note may say, by its code. A code keeps its meaning; there will be more of them.
CODES = {
    "best_labels_not_copied": "the best labels of `features` features are looked up each time: compact the store",
    "cosine_unknown": "one of the features compared has no decoder vector, or a zero one",
    "empty_list": "a list of ids or dictionaries is empty, which matches nothing",
    "examples_not_indexed": "examples of `dictionaries` dictionaries are not embedded, or not as they are now",
    "examples_not_searched": "examples were not searched by meaning: what embeds texts may not or cannot be used here",
    "few_labelled": "of `features` features that may be found only `labelled` have a label",
    "fired": "`features` features fire on the text",
    "fired_more": "`features` features fire more on the first texts than on the others",
    "given_fired": "of `features` given features `firing` fire on the text",
    "graph_dictionaries_missing": "`dictionaries` of the graph's dictionaries are not in the store",
    "graph_dictionaries_unnamed": "nothing says which dictionaries the features of `layers` layers are of",
    "graph_dictionary_too_small": "the dictionary of `layer` has `features` features, the graph has feature `feature`",
    "graph_feature_numbers_joined": "numbers of features are read as layer and five digits of index",
    "graph_features_without_index": "the numbers of `features` features are no index of the layer they say",
    "graph_links_ambiguous": "`links` links are of an id that a feature and an error share",
    "graph_links_left_out": "`links` links are left out, whose nodes the file does not have",
    "graph_type_unknown": "`nodes` nodes have a feature_type that is not known",
    "index_is_approximate": "matches are those that the index found: some may have a nearer one",
    "labels_not_indexed": "`labels` labels are newer than the index, or there is none",
    "left_out": "features were left out: so many `dead`, `always_on`, `dead_or_always_on`, `structural`, or with a "
    "`zero_vector`",
    "list_empty": "a list of features that `among` names is empty",
    "list_features_missing": "of `features` features of a list `missing` are not in the store",
    "no_examples": "of `features` of the features compared no examples are stored",
    "no_words": "the text has no words to look for",
    "nothing_left": "no feature is left by the filter",
    "paired": "of `compared` features `paired` have another of at least the cosine `cosine`",
    "spaces_differ": "features of `spaces` different spaces have no cosine",
    "store_changed": "the store has changed since the page before: hits may be missing or come twice",
    "structural_unknown": "whether they are structural is not known of `features` features",
    "tokens_not_indexed": "tokens of `dictionaries` dictionaries are not indexed yet",
    "tokens_only": "what top examples fire on was searched, and no labels",
    "weak": "probably nothing here is about the text: the largest `cosine`, and `words_matched` of `words_asked` words",
    "words_only_embedder_missing": "searched by words: what embeds texts is not installed",
    "words_only_embedder_refused": "searched by words: the store's embedder may not be used here",
    "words_only_not_embedded": "searched by words: the labels are not embedded yet",
    "words_only_signs": "searched by words: + and - say which words a label must and must not have",
}
# Not an enum: a newer service may send a code that this list does not have.
Code = Annotated[
    str,
    msgspec.Meta(
        description="What the note says. There will be more codes. "
        + " ".join(f"`{code}`: {meaning}." for code, meaning in CODES.items()),
        extra_json_schema={"x-extensible-enum": list(CODES)},
    ),
]


class NoteCode(msgspec.Struct, frozen=True):
    """A note for programs: what it says, as a code that stays, and the numbers in it by their names."""

    code: Code
    numbers: dict[str, int | float] = {}


class Notes:
    """Collects the notes of an answer."""

    def __init__(self, earlier: Notes | None = None):
        """`earlier` are notes to begin with, which stay as they are."""
        self.sentences: tuple[str, ...] = earlier.sentences if earlier else ()
        self.codes: tuple[NoteCode, ...] = earlier.codes if earlier else ()

    def add(self, code: str, sentence: str, **numbers: float | None) -> Notes:
        """Add a note, and return all. `code` is one of CODES; a number that is None is left out."""
        assert code in CODES, code
        self.sentences += (sentence,)
        self.codes += (NoteCode(code, {name: number for name, number in numbers.items() if number is not None}),)
        return self

    def extend(self, others: Notes) -> Notes:
        """Add the notes of others, and return all."""
        self.sentences += others.sentences
        self.codes += others.codes
        return self

    def fields(self) -> dict[str, Any]:
        """Return the fields that an answer has for its notes, by name."""
        return {"notes": self.sentences, "note_codes": self.codes}
