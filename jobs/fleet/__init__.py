"""Many tables in one night: what is due for every config in a folder, and a page that lists them."""
