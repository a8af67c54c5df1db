"""What `monitor` finds in scored tables: drift and incidents."""
