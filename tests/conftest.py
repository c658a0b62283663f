"""One thread for the tests: their networks are tiny, and threads that share a core spend their time waiting."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")   # read when torch is imported, here and in what the tests start
