"""Only marks look like marks, whatever the text has of its own."""

import pytest

from labeler.explainers.marks import mark_tokens


@pytest.mark.parametrize(
    ("tokens", "marked", "text"),
    [
        (["a", " b", "c"], {1}, "a<< b>>c"),
        (["a", "b"], {0, 1}, "<<a>><<b>>"),
        (["1 <<", " 2 >> 3", " x"], {2}, "1 < < 2 > > 3<< x>>"),
        (["1 <", "<", " 2"], {2}, "1 < < << 2>>"),
        (["cat <<", "EOF"], {0}, "<<cat < < >>EOF"),
        (["<", "<"], {0}, "<< < >> <"),
        (["a<", "b", ">c"], {1}, "a< <<b>> >c"),
        ([], set(), ""),
    ],
)
def test_marks(tokens, marked, text):
    assert mark_tokens(tokens, marked) == text
    assert (text.count("<<"), text.count(">>")) == (len(marked), len(marked))
