"""The form of a text: which classes of characters it has, in which order.

Three grains, from fine to coarse: every character ('9999-999999'), runs of a class as one ('9-9'), and which classes
occur at all. A column is watched at the finest grain at which its forms repeat. Everything works on the bytes of an
Arrow array at once.
"""

from __future__ import annotations

import string
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Grain = Literal["characters", "runs", "classes"]
GRAINS: tuple[Grain, ...] = ("characters", "runs", "classes")
MAX_BYTES = 256
# Sign of a letter beyond ASCII, and of the bytes of UTF-8 that follow its first one.
_LETTER, _CONTINUED = ord("~"), 0

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


def _classify() -> Bytes:
    """[256] the class of each byte: capital 'A', small 'a', digit '9', space ' ', punctuation itself."""
    table = np.arange(256, dtype=np.uint8)
    table[[ord(c) for c in string.ascii_uppercase]] = ord("A")
    table[[ord(c) for c in string.ascii_lowercase]] = ord("a")
    table[[ord(c) for c in string.digits]] = ord("9")
    table[:32] = ord(" ")
    table[0x80:0xC0] = _CONTINUED
    table[0xC0:] = _LETTER
    return table


CLASSES = _classify()
# The classes that there are, ascending, and the number of each among them.
_KINDS = np.unique(CLASSES)
_KIND_OF_CLASS = np.searchsorted(_KINDS, np.arange(256))


def find_prefixes(data: Bytes, offsets: Offsets, size: int) -> npt.NDArray[np.int32]:
    """The first bytes of each text as one number, [n]; what a text lacks is 0."""
    padded = np.concatenate([data, np.zeros(size, np.uint8)])
    prefixes = np.zeros(len(offsets) - 1, np.int32)
    for i in range(size):
        place = offsets[:-1] + i
        prefixes = prefixes * 256 + np.where(place < offsets[1:], padded[np.minimum(place, len(data))], 0)
    return prefixes.astype(np.int32)


def to_bytes(text: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes of texts, at most MAX_BYTES of each, and where each begins, [n + 1]. NULL is empty."""
    n = len(text)
    buffers = text.buffers()
    offsets = np.frombuffer(buffers[1] or bytes(4 * (n + 1)), np.int32)[text.offset : text.offset + n + 1]
    data = np.frombuffer(buffers[2] or b"", np.uint8)
    begins, lengths = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    if text.null_count:
        lengths[np.asarray(text.is_null().to_numpy(zero_copy_only=False))] = 0
    elif not n or lengths.max() <= MAX_BYTES:
        return data[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.int64)
    kept = np.minimum(lengths, MAX_BYTES)
    ends = np.concatenate([[0], np.cumsum(kept)])
    return data[np.repeat(begins - ends[:-1], kept) + np.arange(ends[-1])], ends


def find_forms(data: Bytes, offsets: Offsets, grain: Grain) -> pa.BinaryArray:
    """The form of each text, as bytes."""
    classes = CLASSES[data]
    kept = classes != _CONTINUED
    if grain != "characters" and len(classes) > 1:
        kept[1:] &= classes[1:] != classes[:-1]
        starts = offsets[:-1][np.diff(offsets) > 0]
        kept[starts] = classes[starts] != _CONTINUED
    ends = np.concatenate([[0], np.cumsum(kept)])[offsets]
    found = classes[kept]
    if grain == "classes":
        found, ends = _keep_each_class_once(found, ends)
    size = np.ascontiguousarray(ends, np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(size), pa.py_buffer(np.ascontiguousarray(found))]
    )


def _keep_each_class_once(found: Bytes, ends: Offsets) -> tuple[Bytes, Offsets]:
    """Each class of a text once, in ascending order."""
    n, kinds = len(ends) - 1, len(_KINDS)
    present = np.zeros((n, kinds), np.bool_)
    present.reshape(-1)[np.repeat(np.arange(n) * kinds, np.diff(ends)) + _KIND_OF_CLASS[found]] = True
    counts = present.sum(axis=1)
    return _KINDS[np.flatnonzero(present) % kinds], np.concatenate([[0], np.cumsum(counts)])


def form_in_words(form: str, grain: Grain) -> str:
    """A form for people."""
    if grain == "classes":
        names = {"A": "capitals", "a": "letters", "9": "digits", " ": "spaces", "~": "letters beyond a-z"}
        return "a text of " + (", ".join(names.get(c, c) for c in form) or "nothing")
    return f"a form like {form}" if form else "an empty text"
