"""Delta tables without a JVM: snapshots, data files and commits, on deltalake and pyarrow."""
