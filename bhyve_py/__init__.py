"""bhyve(8): from options to a configuration tree to a running machine."""
