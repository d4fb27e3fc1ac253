"""The recipe of the encoder that scores: human ratings in, a sentence encoder that follows them out."""
