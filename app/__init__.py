"""What a person sees: a web page. No mathematics; `lawm_core` computes."""
