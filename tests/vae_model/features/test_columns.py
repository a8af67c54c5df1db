import pyarrow as pa
import pytest

import vae_model as vm
from vae_model.features.columns import Column, check_features, plan_columns
from vae_model.features.families import type_family


def plan(table: pa.Table, **options) -> dict[str, str]:
    return {c.name: c.kind for c in plan_columns(table.schema, table, vm.ColumnOptions(**options)).features}


def test_kinds_follow_types(table):
    assert plan(table, ignore=("id",), max_categories=64) == {
        "x": "number", "y": "number", "n": "number", "amount": "number", "city": "category", "flag": "boolean",
        "when": "time", "day": "time", "vector": "vector", "constant": "number", "text": "text",
    }  # fmt: skip


def test_every_ignored_column_is_said_aloud(table):
    notes = plan_columns(table.schema, table, vm.ColumnOptions(ignore=("id",), exclude=("x",), max_categories=64)).notes
    assert [note.split(":")[0] for note in notes] == ["id", "x"]


def test_kinds_override_types_and_ignore(table):
    kinds = plan(table, ignore=("id",), include=("x",), kinds={"id": "categorical", "constant": "ignored"})
    assert kinds == {"id": "category", "x": "number"}


@pytest.mark.parametrize("options", [{"kinds": {"citi": "category"}}, {"include": ("citi",)}, {"exclude": ("citi",)}])
def test_unknown_name_is_refused_with_the_nearest(table, options):
    with pytest.raises(vm.DataError, match="nearest column is 'city'"):
        plan(table, **options)


def test_impossible_kind_is_refused(table):
    with pytest.raises(vm.DataError, match=r"can be a vector.*string"):
        plan(table, kinds={"city": "vector"})


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(vm.DataError, match="no value in the sample"):
        plan(pa.table({"a": pa.nulls(5, pa.int64())}))


def test_all_null_column_is_ignored():
    assert plan(pa.table({"a": pa.nulls(3, pa.int64()), "b": [1, 2, 3]})) == {"b": "number"}


@pytest.mark.parametrize(
    ("dtype", "family"),
    [
        (pa.uint8(), "integer"), (pa.decimal256(40, 3), "floating"), (pa.large_string(), "string"),
        (pa.dictionary(pa.int8(), pa.string()), "string"), (pa.date64(), "date"),
        (pa.list_(pa.int8()), "list of numbers"),
        (pa.list_(pa.string()), "list<item: string>"), (pa.binary(), "binary"),
    ],
)  # fmt: skip
def test_type_family(dtype, family):
    assert type_family(dtype) == family


def test_check_features_accepts_widening_and_reports_all_differences():
    features = (Column("a", "number", "integer"), Column("b", "category", "string"), Column("c", "number", "floating"))
    check_features(pa.schema([("c", pa.float32()), ("b", pa.string_view()), ("a", pa.decimal128(9, 2))]), features)
    with pytest.raises(vm.DataError, match=r"'a' was integer, is string; 'b' \(string\) is missing, nearest is 'bb'"):
        check_features(pa.schema([("a", pa.string()), ("bb", pa.string()), ("c", pa.float64())]), features)
