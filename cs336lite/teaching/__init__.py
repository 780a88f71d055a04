"""What an instructor does around grading: the exchange, late days, summaries, backups. No part of a student edition."""
