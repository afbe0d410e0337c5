"""One file and one function for each tab."""
