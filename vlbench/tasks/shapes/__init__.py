"""A generated world of coloured shapes, with questions, statements and captions."""
