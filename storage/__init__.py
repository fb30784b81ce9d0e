"""WHERE: tables, Parquet files and DuckDB. Imports pyarrow and duckdb, and nothing above itself."""
