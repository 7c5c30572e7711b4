"""What real Mistral did with 286 small workflows, and whether Tradewind does the same."""
