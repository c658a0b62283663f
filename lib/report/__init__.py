"""What is written and shown: run folders, results, tables, figures, articles, the page and its PDF."""
