"""Labels from token statistics on features with known rules; labels from a language model over a real HTTP endpoint."""

import pytest

from featurestore import BadRequest, NotFound
from labeler.explainers import token_explainer
from labeler.explainers.token_explainer import Firing
from tests.support import tiny

CORPUS = {"self": 0.02, "raise": 0.002, "the": 0.05, ":": 0.05, "7": 0.001, "except": 0.002, ".": 0.05}


def label_of(firings, promoted=(), others=()):
    seen = token_explainer.summarize(firings)
    common = token_explainer.average(CORPUS, [seen, *(token_explainer.summarize(one) for one in others)])
    return token_explainer.write_label(seen, common, list(promoted))


CODE = [Firing(1, "x", f"\n    value = {name}(", ")\n") for name in ("a", "b", "c", "d")]
PROSE = [Firing(1, " of", f'    """Return the {word}', " an item") for word in ("number", "name", "length")]


def test_a_token_in_a_signature():
    firings = [Firing(1, "self", f"\n    def {name}(", ", x):") for name in ("get", "put", "close")]
    label = label_of(firings, [",", ")"], [CODE, PROSE])
    assert label == (
        '"self" (method\'s self argument) in a function signature, followed by comma; predicts closing parenthesis'
    )


def test_exception_words_are_explained_in_plain_words():
    firings = [Firing(1, "except", "\n        ", " ValueError:"), Firing(1, "except", "\n    ", " OSError:")]
    label = label_of(firings, [" ValueError"], [CODE, PROSE])
    assert label.startswith('"except" (exception handling) at the start of a line')


def test_the_token_after_another():
    names = ("Foo", "Bar", "Baz", "Quux", "Spam", "Egg")
    label = label_of([Firing(1, f" {name}", "\n    x = y or", "('x')") for name in names], [], [CODE, PROSE])
    assert label.startswith('capitalised words such as "Bar", "Baz" and "Egg" after "or"')


def test_what_the_place_says_is_not_said_twice():
    firings = [Firing(1, f" {name}", "\n        raise", "('x')") for name in ("Foo", "Bar", "Baz", "Quux", "Spam")]
    label = label_of(firings, [], [CODE, PROSE])
    assert label.startswith('"Bar", "Baz", "Foo" and others as a function or class that is called in a raise statement')
    assert "after" not in label


def test_digits_after_a_colon():
    firings = [Firing(1, f" {n}", "size:", ", ") for n in (3, 17, 256, 9, 44, 81, 5, 60)]
    assert label_of(firings, [], [CODE, PROSE]) == 'numbers such as "17", "256" and "3" after colon, followed by comma'


def test_a_piece_is_named_by_its_only_word():
    firings = [Firing(1, "ar", " an ", "ray of them"), Firing(1, " ar", "this", "ray"), Firing(1, "ray", "Ar", ".")]
    assert label_of(firings, [], [CODE, PROSE]).startswith('"array"')
    dunder = [Firing(1, "init", "\n    def __", f"__({rest}") for rest in ("self", "cls", "a", "b")]
    assert label_of(dunder, [], [CODE, PROSE]).startswith('"__init__"')


def test_pieces_of_many_words_are_named_with_some_of_the_words():
    firings = [Firing(1, " evalu", "it ", end) for end in ("ated x", "ates x")] * 3
    firings += [Firing(1, " indic", "it ", "ated x")] * 3
    firings += [Firing(1, f" word{n}", "it ", " x") for n in "abcdefghi"]
    assert label_of(firings).startswith(
        '"evalu", "indic" and other pieces of words, as in "evaluated", "evaluates" and "indicated"'
    )


def test_a_role_is_not_said_of_a_word_that_says_it():
    firings = [Firing(1, "Deprecated", f"x{n}\n", " since") for n in range(10)]
    assert label_of(firings) == '"Deprecated"'


@pytest.mark.parametrize(
    ("firings", "label"),
    [
        (
            [Firing(1, "Error", f"raise {word}", "('x')") for word in ("Value", "Type", "Key")],
            'words that end in "Error" (exception class names): "KeyError", "TypeError" or "ValueError"',
        ),
        (
            [Firing(1, " spec", "the", rest) for rest in ("ial case", "ify it", "ific one")],
            'words that begin with "spec": "special", "specific" or "specify"',
        ),
        ([Firing(1, "row", "ar", "-"), Firing(1, "row", "a ", "ed"), Firing(1, "row", "b", "n")], '"row" in "arrow"'),
    ],
)
def test_a_piece_of_several_words(firings, label):
    assert label_of(firings, [], [CODE, PROSE]).startswith(label)


def test_alternatives_say_what_each_is_for():
    firings = [Firing(1, token, "a ", " b:") for token in ("==", "is", ">")]
    label = label_of(firings, [], [PROSE])
    assert label.startswith('equality sign (equality test), greater-than sign (comparison) or "is" (identity test)')


def test_words_of_a_language_are_ordinary_words_in_prose():
    prose = [Firing(1, " in", f'"""Return the {word}', " a list") for word in ("number", "name", "length")]
    assert (
        label_of(prose, [], [CODE, CODE])
        == '"in" (preposition) after "length" or "name" in documentation, followed by "a"'
    )
    verbs = [Firing(1, f" {word}", "# the result we", " x") for word in ("will", "must", "can", "may", "should")]
    assert label_of(verbs, [], [CODE, CODE]).startswith('modal verbs such as "can", "may" and "must"')


MIXTURE = ["alpha", "beta", "(", "+", "gamma", ")", "!", "delta", "?", "/", "eps", ";", "zeta", ","]


@pytest.mark.parametrize(
    ("before", "label"),
    [
        ("x{n} ", 'signs and words of many kinds, such as exclamation mark, "alpha" and'),
        ("# it is{n} ", 'signs and words in a comment, such as exclamation mark, "alpha" and'),
        ("\n                x{n} ", "signs and words in deeply indented lines, such as exclamation mark"),
        ("\nx{n} ", "signs and words in lines without indentation, such as exclamation mark"),
        (
            "f(g(x{n} ",
            'signs and words in nested parentheses, such as exclamation mark, "alpha" and opening parenthesis',
        ),
    ],
)
def test_a_mixture_says_first_where_it_is(before, label):
    firings = [Firing(1, token, before.format(n=n), f" y{n}") for n, token in enumerate(MIXTURE)]
    assert label_of(firings, [], [CODE, PROSE] * 4).startswith(label)


def test_a_mixture_of_one_sort_is_of_that_sort():
    cases = {
        "single letters and digits": [Firing(1, letter, f"c{n}_", "q ") for n, letter in enumerate("a1b2c3d4e5")],
        "pieces of words": [Firing(1, "er", f"l{n}f", "t ") for n in "abcd"]
        + [Firing(1, f"qu{n}", "", "ick ") for n in "abcdefgh"]
        + [Firing(1, f"z{n}", f"fi{n}", " ") for n in "abcdefgh"],
    }
    for label, firings in cases.items():
        assert label_of(firings, [], [CODE, PROSE]).startswith(label)


def test_words_of_one_ending():
    words = ("expected", "returned", "changed", "closed", "parsed", "ignored", "created", "opened", "joined")
    firings = [Firing(1, f" {word}", "it is", " by") for word in words]
    assert label_of(firings, [], [CODE, PROSE]).startswith('words that end in "ed": "changed", "closed" or "created"')
    # One word that is most of the mass is no common ending, and two letters may be chance.
    assert "end in" not in label_of([*firings[:2], *[Firing(1, " used", "it is", " by")] * 4])
    chance = [Firing(1, f" {word}", "it", " by") for word in ("album", "forum", "datum", "medium", "podium", "vacuum")]
    assert "end in" not in label_of(chance, [], [CODE, PROSE])


def test_words_that_are_listed_begin_or_end_as_is_said():
    firings = [Firing(1, "post", f"{n}, ", "args,") for n in "ab"] + [Firing(1, "post", "x ", "fix")]
    firings += [Firing(1, "pre", "y ", "args")] * 2 + [Firing(1, "post", "z ", "code"), Firing(1, "post", "z ", "age")]
    label = label_of(firings, [], [CODE, PROSE])
    assert "preargs" not in label.partition("begin with")[2]


def test_words_that_are_often_near():
    texts = [f"{n}x = (widget[{n}x], options({n}x), draw + {n}x" for n in "abcdefghijklmnopqrstuvwyz"]
    firings = [Firing(1, ",", text, f" {n}q") for n, text in enumerate(texts)]
    label = label_of(firings, [], [CODE, PROSE] * 8)
    assert label == 'comma in brackets, often near "draw" or "options"'
    # Words of grammar and of the language say nothing, nor do words that other features are near too.
    firings = [Firing(1, ",", f"if the {n} and none of it", " q") for n in "abcdefgh"]
    assert "near" not in label_of(firings, [], [CODE, PROSE] * 8)
    firings = [Firing(1, ",", text, " width") for text in texts]
    assert "near" not in label_of(firings, [], [firings])


def test_words_that_the_window_cuts_are_not_near():
    firings = [Firing(1, ",", "idget options. ", " wid") for _ in range(4)]
    shares = token_explainer.summarize(firings)
    assert set(shares.nearby) == {"options"}


def test_nothing_is_such_as_twice():
    names = ("MAX_SIZE", "MIN_SIZE", "TOP_WIDTH", "LOW_DEPTH", "FAR_POINT", "OLD_NAME", "ONE_MORE")
    firings = [Firing(1, name.split("_")[1], f"x = {name.split('_')[0]}_", " + 1") for name in names]
    label = label_of(firings, [], [CODE, PROSE])
    assert label.count("such as") == 1
    assert "in names like" in label


def test_docstring_prose():
    firings = [
        Firing(1, f" {word}", '\n    """Return the number of', " in it") for word in ["items", "rows", "pages", "keys"]
    ]
    assert "in documentation" in label_of(firings, [], [CODE, CODE, CODE])


def test_common_tokens_are_no_news():
    """The corpus has 'the', '.' and ':' often, so they say nothing of a feature that fires on them now and then."""
    rare = [Firing(1, f" word{n}x", "x ", " y") for n in range(14)]
    firings = [Firing(1, token, "x ", " y") for token in (" the", ".", ":") * 2] + rare
    label = label_of(firings)
    assert label.startswith("lower-case words")
    often = [Firing(1, " the", "x ", " y")] * 20 + rare
    assert label_of(often).startswith('"the" and others')


@pytest.mark.parametrize(
    ("firings", "label"),
    [
        ([Firing(1, "城市", "这是一个", "的名字"), Firing(1, "城市", "在", "里")], '"城市"'),
        ([Firing(1, "▁שלום", "אמר ", " לכולם"), Firing(1, "שלום", "ו", " רב")], '"שלום"'),
        ([Firing(1, " हिन्दी", "में", " भाषा"), Firing(1, "हिन्", "यह ", "दी है")], '"हिन्दी"'),
        ([Firing(1, "😀", "so funny ", "!")] * 2, "😀 (grinning face)"),
        ([Firing(1, "👩‍💻", "a ", " at work")] * 2, "👩‍💻 (woman)"),
        ([Firing(1, " l'", "dans", "eau")] * 2, '"l\'"'),
    ],
)
def test_languages_and_emoji(firings, label):
    firings = [firing._replace(token=firing.token.replace("▁", " ")) for firing in firings]
    assert label_of(firings, [], [CODE, PROSE]).startswith(label)


@pytest.mark.parametrize("quote", ['"', "'", '("', "\u201c", '")', '"""', "`", "',"])
def test_no_quotes_around_quotes(quote):
    label = label_of([Firing(1, quote, "print", "text")] * 3, [quote], [CODE, PROSE])
    assert not set(label) & set("'`\u201c()")
    assert label.count('"') == 2 * label.count('"print"') + 2 * label.count('"text"')


def test_promoted_tokens_are_named_when_they_stand_out():
    assert token_explainer.select_outstanding([("a", 3.0), ("b", 1.4), ("c", 1.1), ("d", 1.0)]) == ["a", "b"]
    assert token_explainer.select_outstanding([("a", 1.2), ("b", 1.1), ("c", 1.0)]) == []
    assert token_explainer.select_outstanding([]) == []


def test_several_of_one_role_share_it():
    firings = [Firing(1, f" {word}", "raise", "(x)") for word in ("ValueError", "TypeError")]
    firings += [Firing(1, "==", "a ", " b")]
    label = label_of(firings, [], [PROSE])
    assert label.startswith('equality sign (equality test) or "TypeError" and "ValueError" (exception class names)')
    assert label_of([Firing(1, "7", "between ", " and")] * 3, [], [CODE, PROSE]).startswith('"7" (number)')


def test_what_is_true_of_half_is_said_to_be_mostly_so():
    firings = [Firing(1, ".", f"# a sentence of {n} words", "\n") for n in ("two", "some")]
    firings += [Firing(1, ".", "x = 3", "0"), Firing(1, ".", "y = (b", "c)")]
    assert label_of(firings, [], [CODE, CODE, CODE, CODE]).count(", mostly in a comment") == 1


def test_words_that_often_stand_beside():
    before = ["compile", "compile", "sub", "sub", "run", "get", "put", "sort"]
    firings = [Firing(1, "(", f"re.{word}", "'x')") for word in before]
    label = label_of(firings, [], [CODE] * 6)
    assert label == 'opening parenthesis, followed by single quote, often after "compile" or "sub"'


def test_names_with_underscores():
    firings = [Firing(1, "_", left, right) for left, right in (("get", "name x"), ("x = sub", "data("), ("a", "b"))]
    assert label_of(firings, [], [CODE, PROSE]).startswith('underscore in names such as "a_b" and "get_name"')
    special = [Firing(1, word, "def __", "__(") for word in ("init", "enter", "exit")]
    assert "__enter__" in label_of(special, [], [CODE, PROSE])


@pytest.mark.parametrize(
    ("token", "promoted", "said"), [("in", "crement", '; predicts "increment"'), ("IN", "crement", None)]
)
def test_what_it_predicts_is_a_whole_word_or_nothing(token, promoted, said):
    firings = [Firing(1, f" {token}", "an", rest) for rest in ("ner loop", "voice", "dex", "stance")]
    label = label_of(firings, [promoted], [CODE, PROSE])
    assert label.endswith(said) if said else "predicts" not in label


def test_a_long_subject_is_not_left_out():
    firings = [Firing(1, f"q{n}", "x" * 20, "y" * 20 + str(n)) for n in range(2)] + [Firing(1, "((", "a", "b")]
    label = label_of(firings, [" and"], [CODE])
    assert label and not label.startswith(";")
    assert len(label) <= token_explainer.MAX_LENGTH


def test_labels_are_short_lines():
    firings = [Firing(1, "x" * 90, "\n", "y" * 90)] * 3
    label = label_of(firings, ["a" * 100, "\n\n"])
    assert len(label) <= token_explainer.MAX_LENGTH
    assert "\n" not in label


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def test_labels_by_hand_are_shown_first(store):
    store.set_label("tiny/0-res/4", "  what I say  ")
    page = store.feature("tiny/0-res/4")
    assert (page.label, page.labels[0].explainer) == ("what I say", "human")
    with pytest.raises(BadRequest, match="label: it is empty"):
        store.set_label("tiny/0-res/4", " ")
    with pytest.raises(NotFound):
        store.set_label("tiny/0-res/99", "x")
