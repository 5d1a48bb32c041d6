"""Bare state dicts read by a map, held to their formulas; what contradicts a map is refused."""

import numpy
import pytest
import torch

from featurestore import BadRequest
from ingest import weights
from tests.support import ROOT
from tests.support.published_weights import (
    D,
    N,
    close,
    decoded,
    encoded,
    inputs,
    jumped,
    k_largest,
    made,
    pre,
    relu,
    same,
    save,
    tensors,
)

X = inputs()
HOOK = "hook_point=blocks.2.hook_resid_post"


def bare(path, w, names=("encoder_weights", "encoder_bias", "decoder_weights", "pre_bias"), **more):
    """A state dict of (d, n) encoder and (n, d) decoder."""
    arrays = dict(zip(names, (w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"]), strict=True)) | more
    return save(path, tensors(**arrays))


def linear(path, w):
    """A state dict of two linear layers, as torch keeps them."""
    arrays = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"]}
    return save(path, tensors(**arrays, **{"decoder.weight": w["W_dec"].T, "decoder.bias": w["b_dec"]}))


PRE_BIAS = "W_enc:encoder_weights,b_enc:encoder_bias,W_dec:decoder_weights,b_dec:pre_bias"


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "npz"])
@pytest.mark.parametrize("subtract", [True, False])
def test_a_bare_state_dict(tmp_path, suffix, subtract):
    w = made()
    file = bare(tmp_path / f"x.{suffix}", w)
    map = PRE_BIAS + (",b_pre:pre_bias" if subtract else "")
    sae = weights.read(f"{file}?map={map}&{HOOK}")
    same(encoded(sae, X), relu(pre(X, w, subtract=subtract)))
    close(decoded(sae, X), relu(pre(X, w, subtract=subtract)) @ w["W_dec"] + w["b_dec"])
    assert (sae.format, sae.hook_point, sae.subtract_b_dec) == ("mapped", "blocks.2.hook_resid_post", subtract)
    again = weights.read(sae.location)
    assert again.hash == sae.hash
    same(encoded(again, X), encoded(sae, X))


LINEAR = "W_enc:encoder.weight.T,b_enc:encoder.bias,W_dec:decoder.weight.T,b_dec:decoder.bias"


@pytest.mark.parametrize("square", [False, True])
def test_linear_layers_lie_the_other_way_round(tmp_path, square):
    w = made(n=D) if square else made()
    sae = weights.read(f"{linear(tmp_path / 'x.pt', w)}?map={LINEAR}&{HOOK}")
    same(encoded(sae, X), relu(pre(X, w)))
    close(decoded(sae, X), relu(pre(X, w)) @ w["W_dec"] + w["b_dec"])
    if not square:
        with pytest.raises(BadRequest, match=r"if it lies the other way round, write W_enc:encoder\.weight\.T"):
            weights.read(f"{tmp_path / 'x.pt'}?map={LINEAR.replace('.T', '')}&{HOOK}")


def test_activations(tmp_path):
    w = made()
    file = bare(tmp_path / "x.pt", w, log_theta=numpy.log(w["threshold"]), theta=w["threshold"], k=numpy.float32(3))
    p = pre(X, w)
    read = f"{file}?{HOOK}&map={PRE_BIAS}"
    rest = ["k", "log_theta", "theta"]

    def activations(more, *used):
        return encoded(weights.read(f"{read}{more}&ignore={','.join(set(rest) - set(used))}"), X)

    same(activations(",activation:topk,k:3"), k_largest(p, 3))
    same(activations(",k:k", "k"), k_largest(p, 3))
    same(activations(",threshold:theta", "theta"), jumped(p, w["threshold"]))
    same(activations(",log_threshold:log_theta", "log_theta"), jumped(p, w["threshold"]))
    same(activations(",threshold:0.7"), jumped(p, 0.7))
    same(activations(",activation:batchtopk,threshold:0.7,k:3"), jumped(p, 0.7))
    for more, said in (
        (",activation:jumprelu", "says jumprelu, which needs threshold or log_threshold"),
        (",activation:relu,k:3", "says relu and gives k, which relu has no use for"),
        (f",k:{N + 1}", f"k is {N + 1}, of {N} features"),
    ):
        with pytest.raises(BadRequest, match=said):
            activations(more)
    with pytest.raises(BadRequest, match="log_theta, theta: not known beside what was read"):
        weights.read(f"{read},k:k")


def test_another_vector_is_subtracted(tmp_path):
    w = made()
    b_pre = numpy.linspace(-1, 1, D, dtype=numpy.float32)
    file = bare(tmp_path / "x.pt", w, center=b_pre)
    sae = weights.read(f"{file}?{HOOK}&map={PRE_BIAS},b_pre:center")
    same(encoded(sae, X), relu((X - b_pre) @ w["W_enc"] + w["b_enc"]))


def test_gated(tmp_path):
    w = made()
    r_mag, b_mag = numpy.linspace(-1, 1, N, dtype=numpy.float32), numpy.linspace(0, 1, N, dtype=numpy.float32)
    file = bare(tmp_path / "x.pt", w, r=r_mag, m=b_mag)
    sae = weights.read(f"{file}?{HOOK}&map={PRE_BIAS},r_mag:r,b_mag:m")
    raw = X @ w["W_enc"]
    same(encoded(sae, X), (raw + w["b_enc"] > 0) * relu(raw * numpy.exp(r_mag) + b_mag))


def test_lists_by_site_and_stacks(tmp_path):
    """A list of state dicts, lists by part, and stacked tensors: one dictionary of each, by its path."""
    several = [made(seed=seed) for seed in range(3)]
    of = "W_enc:{0},W_dec:{1}"
    torch.save([tensors(enc=w["W_enc"], dec=w["W_dec"]) for w in several], tmp_path / "list.pt")
    by_part = {part: [torch.tensor(w[part]) for w in several] for part in ("W_enc", "W_dec")}
    torch.save({"encoders": by_part["W_enc"], "decoders": by_part["W_dec"], "step": 7}, tmp_path / "parts.pt")
    torch.save({part: torch.stack(each) for part, each in by_part.items()}, tmp_path / "stack.pt")
    for at, w in enumerate(several):
        for name, paths in (
            ("list.pt", (f"{at}.enc", f"{at}.dec")),
            ("parts.pt", (f"encoders.{at}", f"decoders.{at}")),
            ("stack.pt", (f"W_enc[{at}]", f"W_dec[{at}]")),
        ):
            sae = weights.read(f"{tmp_path / name}?{HOOK}&map={of.format(*paths)}")
            same(encoded(sae, X), relu(X @ w["W_enc"]))
            assert {"there is no b_enc: it is 0", "there is no b_dec: it is 0"} <= set(sae.inferred)


def test_one_matrix_for_both(tmp_path):
    w = made()
    save(tmp_path / "x.pt", tensors(dictionary=w["W_dec"]))
    sae = weights.read(f"{tmp_path / 'x.pt'}?{HOOK}&map=W_dec:dictionary")
    same(encoded(sae, X), relu(X @ w["W_dec"].T))
    assert "encoder and decoder share one matrix" in sae.inferred


def test_a_transcoder(tmp_path):
    w = made(out=5)
    file = bare(tmp_path / "x.pt", w, skip=w["affine"].T)
    hooks = "hook_point=blocks.2.ln2.hook_normalized&hook_point_out=blocks.2.hook_mlp_out"
    sae = weights.read(f"{file}?{hooks}&map={PRE_BIAS},W_skip:skip")
    close(decoded(sae, X), relu(pre(X, w)) @ w["W_dec"] + w["b_dec"] + X @ w["affine"])
    with pytest.raises(BadRequest, match="promises"):
        weights.read(f"{file}?{HOOK}&map={PRE_BIAS}&ignore=skip")


def test_toml_beside_the_weights(tmp_path):
    w = made()
    bare(tmp_path / "x.pt", w)
    map = tmp_path / "map.toml"
    lines = [f'{part} = "{path}"' for part, path in (entry.split(":") for entry in PRE_BIAS.split(","))]
    map.write_text("\n".join([*lines, 'hook_point = "blocks.2.hook_resid_post"', "context_size = 64", "k = 3"]))
    sae = weights.read(tmp_path)
    same(encoded(sae, X), k_largest(pre(X, w), 3))
    assert (sae.hook_point, sae.context_size, sae.promised_l0) == ("blocks.2.hook_resid_post", 64, (3, 3))
    same(encoded(weights.read(f"{tmp_path}?k=2"), X), k_largest(pre(X, w), 2))
    map.write_text(map.read_text().replace("k = 3", "k = 4"))
    assert weights.read(tmp_path).hash != sae.hash, "another map is another dictionary"
    elsewhere = map.rename(tmp_path / "other.toml")
    assert weights.read(f"{tmp_path / 'x.pt'}?map={elsewhere}").k == 4


def test_no_hook(tmp_path):
    file = bare(tmp_path / "x.pt", made())
    with pytest.raises(BadRequest, match="does not say what the dictionary reads"):
        weights.read(f"{file}?map={PRE_BIAS}")


TABLE = (ROOT / "docs" / "weights.md").read_text("utf-8").split("| `activation` | no more |")[1].split("\n\n")[0]


@pytest.mark.parametrize("line", [line for line in TABLE.splitlines()[2:] if line.startswith("|")])
def test_the_table_of_activations(tmp_path, line):
    """docs/weights.md: which activation goes with which numbers."""
    name, *cells = (cell.strip().strip("`") for cell in line.strip("|").split("|"))
    w = made()
    file = bare(tmp_path / "x.pt", w, theta=w["threshold"], mag=w["b_enc"])
    numbers = ["", ",threshold:theta", ",k:3", ",threshold:theta,k:3", ",r_mag:mag"]
    for more, cell in zip(numbers, cells, strict=True):
        left_out = ",".join(part for part in ("theta", "mag") if part not in more)
        activation = "" if name == "not named" else f",activation:{name}"
        location = f"{file}?{HOOK}&map={PRE_BIAS}{activation}{more}&ignore={left_out}"
        if cell == "read":
            assert encoded(weights.read(location), X).any()
        else:
            with pytest.raises(BadRequest, match="needs|no use for"):
                weights.read(location)


def test_groups_of_one_size(tmp_path):
    file = bare(tmp_path / "x.pt", made())
    with pytest.raises(BadRequest, match="equal groups"):
        weights.read(f"{file}?{HOOK}&map={PRE_BIAS},activation:groupmax,k:5")


def test_lists_that_hold_themselves_or_each_other_are_refused(tmp_path):
    inner = [torch.zeros(2, 3)]
    inner.append(inner)
    torch.save({"a": inner}, tmp_path / "self.pt")
    many = [torch.zeros(2)] * 10
    for _ in range(6):
        many = [many] * 10
    torch.save({"a": many}, tmp_path / "many.pt")
    for name in ("self", "many"):
        with pytest.raises(BadRequest, match="nested more than"):
            weights.read(f"{tmp_path / name}.pt?map=W_dec:a.0&{HOOK}")
        with pytest.raises(BadRequest, match="of no known format"):
            weights.read(f"{tmp_path / name}.pt")


@pytest.mark.parametrize("k", ["x", 16.7, {"k": 1}, float("nan"), 0])
def test_a_k_of_the_file_is_a_whole_number(tmp_path, k):
    file = tmp_path / "x.pt"
    torch.save(
        tensors(**{name: made()[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}) | {"cfg": {"k": k}}, file
    )
    with pytest.raises(BadRequest, match=r"number|no 'cfg|cfg\.k"):
        weights.read(f"{file}?map=W_enc:W_enc,b_enc:b_enc,W_dec:W_dec,b_dec:b_dec,k:cfg.k&{HOOK}")


@pytest.mark.parametrize("line", ["drop_bad = true", "layer = 3"])
def test_options_that_a_map_comes_too_late_for_are_refused(tmp_path, line):
    file = bare(tmp_path / "x.pt", made())
    (tmp_path / "x.pt.map.toml").write_text(f'W_dec = "decoder_weights"\n{line}\n')
    with pytest.raises(BadRequest, match="behind the location"):
        weights.read(f"{file}?{HOOK}")
