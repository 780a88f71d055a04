"""What an instructor does around grading. The student edition has none of it."""
