"""What is written and shown: run folders, results, tables, sentences, figures, the page and its PDF."""
