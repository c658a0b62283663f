"""The study: classifiers, arms, statistics, the quality of synthetic images, the original paper's claims.

The accepted names stand here, without torch, so that a plan is checked before any heavy import.
"""
CLASSIFIERS = {"mlp": "MLP", "strong-mlp": "strong MLP", "cnn": "CNN"}      # and how they are called in text
OPTIMIZERS = ("adamw", "sgd")
ARMS = ("real", "real twice", "real + flip", "real + shift", "real + flip and shift", "real + noise",
        "real + retrieval", "real + synthetic", "real + best synthetic", "real + random synthetic",
        "real + shift + synthetic", "synthetic only", "shuffled labels", "real, equal epochs")
CLASSICAL = ("real + flip", "real + shift", "real + flip and shift")     # the rivals that need no generator
