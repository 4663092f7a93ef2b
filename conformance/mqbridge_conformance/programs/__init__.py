"""The programs that other parties run, by what they do."""
