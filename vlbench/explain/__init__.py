"""What a model looks at: its attention, head by head, and which part of an image each word is carried to."""
