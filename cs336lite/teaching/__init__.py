"""What an instructor does around grading: what happened and why, and the way to and from a learning platform."""
