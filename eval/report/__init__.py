"""What an Evaluation, or a file of votes, has found: words, pictures, tables, and the files that leave."""
