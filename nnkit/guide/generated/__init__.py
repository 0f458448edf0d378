"""Pages that are made of nnkit itself: names, parts, errors, environment variables, the command line."""
