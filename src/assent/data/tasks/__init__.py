"""Small worlds of the field's tasks, one a file, that the package writes itself for runs that download nothing."""
