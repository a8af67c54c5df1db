"""The data files of a table, as columns: a table has hundreds of thousands of them, a run looks at a few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.delta.datafile import DataFile
from vae_model.features.arrays import to_arrow, to_arrow_text, to_numpy

# What deltalake leaves as it is when it writes a path into the log.
_PLAIN_IN_PATHS = "!$&'()+,-./:;=@~"
_PLAIN_PATH = r"^[A-Za-z0-9_!$&'()+,\-./:;=@~]*$"


@dataclass(frozen=True, eq=False)
class FileList(Sequence[DataFile]):
    """Data files; one becomes an object when it is asked for.

    Attributes:
        files: their `path`, `size_bytes`, live `rows`, and whether they are `removable`.
        partitions: typed values of the partition columns.
        live_mask: the deletion vectors, by path.
    """

    files: pa.Table
    partitions: pa.Table
    live_mask: Mapping[str, pa.BooleanArray]

    def __len__(self) -> int:
        return int(self.files.num_rows)

    @overload
    def __getitem__(self, index: int) -> DataFile: ...
    @overload
    def __getitem__(self, index: slice) -> FileList: ...
    def __getitem__(self, index: int | slice) -> DataFile | FileList:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        path, size, rows, removable = (self.files[name][index].as_py() for name in _COLUMNS)
        values = {name: self.partitions[name][index] for name in self.partitions.column_names}
        return DataFile(path, size, rows, values, self.live_mask.get(path), removable)

    def __iter__(self) -> Iterator[DataFile]:
        return (self[i] for i in range(len(self)))

    @property
    def total_rows(self) -> int:
        """Live rows of all files."""
        return int(pc.sum(self.files["rows"], min_count=0).as_py())

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return int(pc.sum(self.files["size_bytes"], min_count=0).as_py())

    @property
    def paths(self) -> pa.ChunkedArray:
        """Of all files."""
        return self.files["path"]

    def take(self, numbers: npt.NDArray[np.int64]) -> FileList:
        """Some of the files."""
        chosen = to_arrow(numbers.astype(np.int64))
        partitions = self.partitions.take(chosen) if self.partitions.num_columns else self.partitions
        return FileList(self.files.take(chosen), partitions, self.live_mask)

    def select_paths(self, paths: Sequence[str]) -> FileList:
        """Those with these paths."""
        found = pc.is_in(self.paths, value_set=to_arrow_text(paths))
        return self.take(np.flatnonzero(to_numpy(found.combine_chunks())))

    def first_irremovable(self) -> str | None:
        """The path of a file that deltalake would spell otherwise than the log does, and so could not remove."""
        odd = self.paths.filter(pc.invert(self.files["removable"]))
        return str(odd[0].as_py()) if len(odd) else None

    def first_outside(self) -> str | None:
        """The path of a file that is not in the table's folder."""
        outside = self.paths.filter(pc.match_substring_regex(self.paths, "^/|^file:|://"))
        return str(outside[0].as_py()) if len(outside) else None


_COLUMNS = ("path", "size_bytes", "rows", "removable")


def list_files(
    logged: pa.Array,
    sizes: pa.Array,
    rows: pa.Array,
    partitions: pa.Table,
    live_mask: Mapping[str, pa.BooleanArray] | None = None,
) -> FileList:
    """The files whose paths the log spells as `logged`."""
    plain = pc.match_substring_regex(logged, _PLAIN_PATH)
    removable = to_numpy(plain)
    odd = np.flatnonzero(~removable)
    paths = logged
    if len(odd):
        spelt = logged.to_pylist()
        for i in odd:
            name, spelt[i] = spelt[i], unquote(spelt[i])
            removable[i] = quote(spelt[i], safe=_PLAIN_IN_PATHS) == name
        paths = to_arrow_text(spelt)
    files = pa.Table.from_arrays([paths, sizes, rows, to_arrow(removable)], names=list(_COLUMNS))
    return FileList(files, partitions, live_mask or {})


NO_FILES = list_files(pa.nulls(0, pa.string()), pa.nulls(0, pa.int64()), pa.nulls(0, pa.int64()), pa.table({}))
