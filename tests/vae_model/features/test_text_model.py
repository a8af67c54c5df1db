"""Texts: their forms, and what training saw of their characters."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.forms import MAX_BYTES, Grain, find_forms, to_bytes
from vae_model.features.text_model import fit_text

WORDS = ("springfield", "birmingham", "chicago", "boston", "new york", "los angeles", "paris", "london", "hamburg")


def forms_of(texts: list[str | None], grain: Grain) -> list[str]:
    return [form.as_py().decode() for form in find_forms(*to_bytes(pa.array(texts, pa.string())), grain)]


@pytest.mark.parametrize(
    ("grain", "expected"),
    [
        ("characters", ["9999-999", "Aaa-aa", "", "", "9.9 ~a~a", "AA"]),
        ("runs", ["9-9", "Aa-a", "", "", "9.9 ~a~a", "A"]),
        ("classes", ["-9", "-Aa", "", "", " .9a~", "A"]),
    ],
)
def test_forms(grain: Grain, expected: list[str]) -> None:
    texts = ["2015-015", "Ab\x63-de", "", None, "1.2 ßaïb", "QX"]
    assert forms_of(texts, grain) == expected
    # A slice of a longer array has the same forms.
    whole = pa.array(["longer than these", *texts, "and more"])
    assert [f.as_py().decode() for f in find_forms(*to_bytes(whole.slice(1, len(texts))), grain)] == expected


def test_long_texts_are_judged_by_their_first_bytes() -> None:
    assert forms_of(["a" * 10_000 + "9"], "characters") == ["a" * MAX_BYTES]


def test_another_form_is_as_unusual_as_anything() -> None:
    rng = np.random.default_rng(0)
    ids = [f"{year}-{number:06}" for year, number in zip(rng.integers(2010, 2020, 4_000), range(4_000), strict=True)]
    model = fit_text(pa.array(ids))
    fine, wrong = pa.array(["2015-015094"]), pa.array(["ZOIS-OISOQA", "2015/015094", "2015-0150", "15-2015094"])
    assert model.grain == "characters"
    assert model.measure(fine)[0] < 0.5
    assert model.measure(wrong).min() > 4.0


def test_cut_off_and_misspelt_words_are_unusual() -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, 3)).title() for _ in range(4_000)]
    model = fit_text(pa.array(texts))
    usual = np.quantile(model.measure(pa.array(texts[:1_000]), own=True), 0.95)
    assert (
        model.measure(pa.array(["Springf", "Springfxeld Boston Paris", "SPRINGFIELD BOSTON PARIS"])).min() > usual + 1
    )


def test_a_text_is_judged_alone() -> None:
    texts = pa.array([f"Item {number} of {WORDS[number % 9]}" for number in range(500)] + ["", "ß" * 300, None])
    model = fit_text(texts)
    whole = model.measure(texts)
    alone = np.concatenate([model.measure(texts.slice(i, 1)) for i in range(len(texts))])
    assert np.array_equal(whole, alone)
    assert np.isfinite(whole).all()


def make_catalogue(rows: int, seed: int) -> pa.Table:
    """Codes of one form, of which each decides the town; names that hardly repeat."""
    rng = np.random.default_rng(seed)
    town = rng.integers(0, 600, rows)
    return pa.table(
        {
            "price": rng.gamma(4.0, 5.0, rows).round(2),
            "zip": [f"{10_000 + 7 * number}" for number in town],
            "town": [f"{WORDS[number % 9].title()} {number}" for number in town],
            "sku": [f"AB-{number:06}" for number in rng.integers(0, 999_999, rows)],
        }
    )


@pytest.fixture(scope="module")
def catalogue() -> vm.Bundle:
    return vm.fit(make_catalogue(6_000, 0), epochs=2)


def test_no_string_is_ignored(catalogue: vm.Bundle) -> None:
    assert {c.name: c.kind for c in catalogue.features} == {
        "price": "number", "zip": "category", "town": "category", "sku": "text",
    }  # fmt: skip
    assert not catalogue.notes


@pytest.mark.parametrize(
    ("column", "wrong", "expected"),
    [
        ("sku", "ZY-000017", None),
        ("sku", "AB-17", "a form like AA-999999"),
        ("sku", "AB/000017", "a form like AA-999999"),
        ("town", "Springfxeld 9", "Springfield 9"),
    ],
)
def test_a_wrong_text_is_found_and_named(catalogue: vm.Bundle, column: str, wrong: str, expected: str | None) -> None:
    rows = make_catalogue(6_000, 0).filter(pa.compute.equal(make_catalogue(6_000, 0)["zip"], "10063")).slice(0, 1)
    broken = rows.set_column(rows.schema.get_field_index(column), column, pa.array([wrong]))
    scored = vm.score(broken, catalogue, explain="all")
    assert scored["is_anomaly"].to_pylist() == [True]
    first = scored["top_columns"].to_pylist()[0][0]
    assert first["column"] == column
    assert first["observed"] == wrong
    assert expected is None or first["expected"] == expected


def test_pairs_of_many_levels_belong_together(catalogue: vm.Bundle) -> None:
    rows = make_catalogue(2_000, 5)
    swapped = rows.set_column(2, "town", rows["town"].take(pa.array(np.roll(np.arange(2_000), 1))))
    clean, wrong = (vm.score(t, catalogue, explain="none")["anomaly_score"].to_numpy() for t in (rows, swapped))
    assert np.mean(wrong[:, None] > clean[None, :]) > 0.98


def test_no_reason_reads_as_expected(catalogue: vm.Bundle) -> None:
    for reasons in vm.score(make_catalogue(2_000, 6), catalogue, explain="all")["top_columns"].to_pylist():
        assert reasons
        assert all(reason["observed"] != reason["expected"] for reason in reasons)


def test_a_stored_bundle_judges_texts_the_same(catalogue: vm.Bundle) -> None:
    again = vm.Bundle.from_bytes(catalogue.to_bytes())
    rows = make_catalogue(700, 7)
    one, two = (vm.score(rows, b, explain="all").drop_columns(["scored_at"]) for b in (catalogue, again))
    assert one.equals(two)
