# Writes english.txt: words and their stems by PyPI `snowballstemmer` 3.1 (`pip install snowballstemmer`).
# Usage: python make.py WORDS.txt > english.txt, one lower-case word a line.
import sys

import snowballstemmer

stemmer = snowballstemmer.stemmer("english")
for word in sorted({line.strip() for line in open(sys.argv[1], encoding="utf-8")} - {""}):
    print(word, stemmer.stemWord(word))
