"""What an instructor does around grading: sharing a course, its seed, its gradebook and the copies of it."""
