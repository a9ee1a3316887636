"""Tables of pandas, polars and pyarrow, in the formats that hold tables."""
