"""Parquet files below the level of pyarrow: footers, and columns added to a file without decoding the others."""
