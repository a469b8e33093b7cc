"""Published weights: read without running any code of theirs, and mapped strictly onto the parts built here."""
