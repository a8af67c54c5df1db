"""Thrift's compact protocol: footers come back as they were, and no bytes make the reader fail in a way of its own."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.parquet.footer import NotUnderstood, parse_footer
from jobs.parquet.thrift import ThriftError, read_struct, write_struct
from tests.jobs.parquet.corpus import PYARROW, make_rows


def footer_of(name: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(make_rows(60), sink, row_group_size=20, **PYARROW[name])
    data = sink.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize("name", PYARROW)
def test_a_footer_is_written_as_it_was_read(name):
    footer = footer_of(name)
    struct, end = read_struct(footer)
    assert end == len(footer)
    assert write_struct(struct) == footer


def test_values_at_the_ends_of_their_range_survive():
    struct = {1: (6, -(2**63)), 2: (6, 2**63 - 1), 20: (5, 0), 21: (1, True), 22: (2, False), 300: (8, b"\x00" * 200)}
    assert read_struct(write_struct(struct))[0] == struct


FOOTER = footer_of("page index")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(FOOTER) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_broken_footer_is_not_understood_or_still_one(at, byte, cut):
    broken = FOOTER[:at] if cut else FOOTER[:at] + bytes([byte]) + FOOTER[at + 1 :]
    try:
        footer = parse_footer(broken)
    except NotUnderstood:
        return
    assert read_struct(write_struct(footer.fields))[0] == footer.fields


@pytest.mark.parametrize(
    "data", [b"", b"\x15", b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x1c" * 200, b"\x1b\x00"]
)
def test_bytes_that_are_no_struct(data):
    with pytest.raises(ThriftError):
        read_struct(data)


@pytest.mark.parametrize(("number", "where"), [(8, "the footer"), (9, "the footer")])
def test_encrypted_footers_and_unknown_fields_are_named(number, where):
    struct, _ = read_struct(FOOTER)
    with pytest.raises(NotUnderstood, match=f"field {number} of {where}"):
        parse_footer(write_struct(struct | {number: (8, b"x")}))


def test_pyarrow_reads_what_is_written_back():
    struct, _ = read_struct(FOOTER)
    data = write_struct(struct)
    whole = b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1"
    assert pq.read_metadata(pa.BufferReader(whole)).num_rows == 60
