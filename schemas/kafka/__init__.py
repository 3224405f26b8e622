"""What consumers of all parts share: no record batch that cannot be read stops them."""
