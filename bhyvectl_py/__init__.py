"""bhyvectl(8): look into a VM, and change it, from outside."""
