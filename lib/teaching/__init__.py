"""What is learned with: explorers in the notebooks, handouts and their grading."""
