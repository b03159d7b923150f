"""The popup where its surroundings are against it: descriptors, environment, clients, limits, directories."""
