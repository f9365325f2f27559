"""A node moves from one runtime to another while its pods run."""
