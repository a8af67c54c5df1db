"""The columns that scoring attaches: their names, types and meaning, in one place."""

from __future__ import annotations

import pyarrow as pa

from vae_model.errors import DataError

REASON = pa.struct(
    [
        pa.field("column", pa.string()),
        pa.field("share", pa.float32()),
        pa.field("observed", pa.string()),
        pa.field("expected", pa.string()),
    ]
)

_FIELDS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("anomaly_score", pa.float64(), "-log10(anomaly_p_value): 3 means one in a thousand"),
    ("anomaly_p_value", pa.float64(), "share of normal rows at least as unusual as this one"),
    ("is_anomaly", pa.bool_(), "anomaly_p_value is below the alert budget"),
    ("reconstruction_error", pa.float64(), "root mean square difference of input and reconstruction, standardised"),
    ("reconstruction_nll", pa.float64(), "-log p(row), averaged over the latent draws; the sum of the columns' terms"),
    ("latent_mu", pa.list_(pa.float32()), "mean of the row's normal distribution in the latent layer"),
    ("latent_sigma", pa.list_(pa.float32()), "standard deviation of that distribution"),
    ("top_columns", pa.list_(REASON), "the columns that make the row unusual: share, observed and expected value"),
    ("why", pa.list_(pa.string()), "the same in sentences, with what training rows have to say"),
    ("model_id", pa.string(), "digest of the bundle that scored the row"),
    ("scored_at", pa.timestamp("us", tz="UTC"), "logical time of the scoring run"),
)

SCORE_COLUMNS: tuple[str, ...] = tuple(name for name, _, _ in _FIELDS)
SCORE_SCHEMA: pa.Schema = pa.schema([pa.field(name, dtype, metadata={"comment": why}) for name, dtype, why in _FIELDS])


def append_score_fields(schema: pa.Schema) -> pa.Schema:
    """Input fields followed by the score fields.

    Raises:
        DataError: an input column has the name of a score column.
    """
    clashes = [name for name in schema.names if name.lower() in SCORE_COLUMNS]
    if clashes:
        raise DataError(
            "a source without columns named like score columns",
            f"source columns {', '.join(clashes)}",
            "rename them in the source, or score the unscored table",
        )
    return pa.schema([*schema, *SCORE_SCHEMA])
